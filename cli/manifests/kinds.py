"""What a manifest can describe, and how fields of messages look in YAML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beckon.delivery.v1.template_service_pb2 import EmailPart, Template, WebhookPart
from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.profile.v1.trait_service_pb2 import Trait
from beckon.throttle.v1.frequency_cap_service_pb2 import FrequencyCap
from beckon.trigger.v1.campaign_service_pb2 import (
    Audience,
    Campaign,
    Interaction,
    Message,
    Recipient,
    RegionCrossing,
    SegmentChange,
)
from beckon.trigger.v1.region_service_pb2 import Region
from beckon.trigger.v1.settings_service_pb2 import Settings
from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message as ProtoMessage

from cli.output import enum_prefix
from mesh.names import ID_PATTERN, RESOURCE_ID_PATTERN

DURATION = duration_pb2.Duration.DESCRIPTOR.full_name
TIMESTAMP = timestamp_pb2.Timestamp.DESCRIPTOR.full_name
VALUE = struct_pb2.Value.DESCRIPTOR.full_name

_HIDDEN = {field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IDENTIFIER}
# Files are the truth: what somebody changed meanwhile is overwritten, so no etag is asked for.
_UNWANTED = {"etag"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of document."""

    name: str
    """As `kind:` says it."""
    collection: str
    """In resource names."""
    type: type[ProtoMessage]
    request_field: str
    """What services call it in the violations of a request."""
    states: tuple[str, ...] = ()
    """What `state:` may say."""
    id_pattern: str = RESOURCE_ID_PATTERN
    id_form: str = "kebab-case of at most 63 characters, as abandoned-cart"
    singleton: bool = False
    """Whether a workspace has one of them, without an id."""

    def name_of(self, workspace: str, identifier: str) -> str:
        """Return the name of a resource."""
        name = f"workspaces/{workspace}/{self.collection}"
        return name if self.singleton else f"{name}/{identifier}"

    @property
    def descriptor(self) -> Descriptor:
        """Of its message."""
        return descriptor_of(self.type)


CAP = Kind(
    name="FrequencyCap",
    collection="frequencyCaps",
    type=FrequencyCap,
    request_field="frequency_cap",
)
TEMPLATE = Kind(name="Template", collection="templates", type=Template, request_field="template")
# Expressions read a trait by its id, where a hyphen would take something away.
TRAIT = Kind(
    name="Trait",
    collection="traits",
    type=Trait,
    request_field="trait",
    id_pattern=r"[a-z][a-z0-9_]{0,62}",
    id_form="snake_case of at most 63 characters, as messages_this_month",
)
SEGMENT = Kind(name="Segment", collection="segments", type=Segment, request_field="segment")
REGION = Kind(name="Region", collection="regions", type=Region, request_field="region")
SETTINGS = Kind(
    name="Settings",
    collection="settings",
    type=Settings,
    request_field="settings",
    singleton=True,
)
CAMPAIGN = Kind(
    name="Campaign",
    collection="campaigns",
    type=Campaign,
    request_field="campaign",
    states=("active", "paused", "draft", "archived"),
)

# In the order of applying: a campaign is launched when what it needs is there.
KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (CAP, TEMPLATE, TRAIT, SEGMENT, SETTINGS, REGION, CAMPAIGN)
}

# Fields that hold names of resources; a manifest may say the id alone.
REFERENCES: Mapping[str, str] = {
    f"{Message.DESCRIPTOR.full_name}.template": "templates",
    f"{SegmentChange.DESCRIPTOR.full_name}.segment": "segments",
    f"{Audience.DESCRIPTOR.full_name}.segment": "segments",
    f"{RegionCrossing.DESCRIPTOR.full_name}.regions": "regions",
    f"{Interaction.DESCRIPTOR.full_name}.campaign": "campaigns",
    f"{Recipient.Team.DESCRIPTOR.full_name}.profiles": "profiles",
}

# What services fill in where a manifest is silent.
DEFAULTS: Mapping[str, str] = {f"{FrequencyCap.DESCRIPTOR.full_name}.on_breach": "suppress"}

# Texts that may be long: `{file: welcome.txt}` reads them from beside the manifest.
_WITH_FILES = {EmailPart.DESCRIPTOR.full_name, WebhookPart.DESCRIPTOR.full_name}


def descriptor_of(message: ProtoMessage | type[ProtoMessage]) -> Descriptor:
    """Return a message's descriptor, under the name that the library's stubs use elsewhere."""
    descriptor: Any = message.DESCRIPTOR
    found: Descriptor = descriptor
    return found


def writable(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Return the fields that a manifest may set."""
    return {
        field.name: field
        for field in descriptor.fields
        if field.name not in _UNWANTED and not _HIDDEN & set(behavior(field))
    }


def behavior(field: FieldDescriptor) -> list[int]:
    """Return how a field behaves: required, output only."""
    # The library's stubs know extensions of no element type.
    extension: Any = field_behavior_pb2.field_behavior
    return list(field.GetOptions().Extensions[extension])


def required(field: FieldDescriptor) -> bool:
    """Say whether a manifest must set a field."""
    return field_behavior_pb2.REQUIRED in behavior(field)


def optional(field: FieldDescriptor) -> bool:
    """Say whether a manifest may leave a field out."""
    return field_behavior_pb2.OPTIONAL in behavior(field)


def repeated(field: FieldDescriptor) -> bool:
    """Say whether a field is a list or a map."""
    return bool(field.is_repeated)


def is_map(field: FieldDescriptor) -> bool:
    """Say whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return what a field's value must keep to."""
    # The library's stubs know extensions of no element type.
    extension: Any = validate_pb2.field
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[extension]
    return rules


def signed(field: FieldDescriptor) -> bool:
    """Say whether a duration may be negative."""
    return rules_of(field).duration.gte.seconds < 0


def choices(descriptor: Descriptor) -> list[OneofDescriptor]:
    """Return the fields of which at most one may be set."""
    # A field that knows whether it is set is the only one of a oneof that nobody wrote.
    return [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1]


def must_choose(oneof: OneofDescriptor) -> bool:
    """Say whether one of the fields must be set."""
    extension: Any = validate_pb2.oneof
    said: bool = oneof.GetOptions().Extensions[extension].required
    return said


def referred_pattern(collection: str) -> str:
    """Return what ids of a collection look like, where a reference is an id alone."""
    return ID_PATTERN if collection == "profiles" else RESOURCE_ID_PATTERN


def is_value(field: FieldDescriptor) -> bool:
    """Say whether a field holds anything: a text, a number, nothing."""
    return field.message_type is not None and field.message_type.full_name == VALUE


def takes_file(field: FieldDescriptor) -> bool:
    """Say whether a field's text may come from a file."""
    text = field.type == FieldDescriptor.TYPE_STRING
    return text and field.containing_type.full_name in _WITH_FILES


def enum_names(field: FieldDescriptor) -> dict[str, int]:
    """Return the values of an enum as people write them: `active` for `STATE_ACTIVE`."""
    values = field.enum_type.values
    prefix = enum_prefix(values[0].name)
    return {value.name.removeprefix(prefix).lower(): value.number for value in values[1:]}


def enum_word(field: FieldDescriptor, number: int) -> str:
    """Return a value of an enum as people write it; one that is not known, as its number."""
    words = {value: word for word, value in enum_names(field).items()}
    return words.get(number, str(number))
