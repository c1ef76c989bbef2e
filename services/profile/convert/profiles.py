"""Profiles and their history, in and out."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from beckon.profile.v1 import profile_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value

from mesh.errors import invalid_field
from mesh.masks import apply_update
from mesh.names import format_name
from services.profile.convert.devices import reach as shown_reach
from services.profile.convert.tokens import token
from services.profile.model import Counter, Facts, HistoryEntry
from services.profile.model.devices import Reach
from services.profile.model.persons import Person
from services.profile.rules import join, split
from services.profile.rules.objects import quote
from services.profile.rules.operations import Operations
from services.profile.rules.patching import etag_of

# As deep as events may nest.
DEPTH_MAX = 32
# Beyond it a double no longer counts by ones.
_EXACT = 2**53

_JSON: TypeAlias = "dict[str, _JSON] | list[_JSON] | str | float | bool | None"


def profile(person: Person, traits: str, reach: Iterable[Reach]) -> pb.Profile:
    """Return the person as callers see them."""
    one, facts = person.profile, person.profile.facts
    message = pb.Profile(
        name=format_name(person.key[0], "profiles", person.key[1]),
        attributes=_struct(facts.attributes),
        email=facts.email,
        phone=facts.phone,
        time_zone=facts.time_zone,
        locale=facts.locale,
        etag=etag_of(person),
        member_ids=person.member_ids,
        traits=_struct(traits),
        reach=shown_reach(reach),
        consistency_token=token(person.key, one.version),
    )
    for kind, shown in counters(one.counters).items():
        message.counters[kind].CopyFrom(shown)
    if one.first_seen_us:
        message.first_seen_time.FromMicroseconds(one.first_seen_us)
    if one.last_seen_us:
        message.last_seen_time.FromMicroseconds(one.last_seen_us)
    message.create_time.FromDatetime(person.create_time)
    message.update_time.FromDatetime(person.update_time)
    return message


def counters(counted: Mapping[str, Counter]) -> dict[str, pb.Profile.Counter]:
    """Return the counters as callers see them."""
    shown: dict[str, pb.Profile.Counter] = {}
    for kind, (total, first_us, last_us) in counted.items():
        shown[kind] = pb.Profile.Counter(count=total)
        shown[kind].first_time.FromMicroseconds(first_us)
        shown[kind].last_time.FromMicroseconds(last_us)
    return shown


def operations(patch: pb.ProfilePatch) -> Operations:
    """Return what a patch asks for.

    Raises:
        InvalidArgument: A value is not JSON.
    """
    return Operations(
        write=_texts(patch.set, "set") if patch.HasField("set") else {},
        set_once=_texts(patch.set_once, "set_once") if patch.HasField("set_once") else {},
        increment={
            key: repr(_number(number, f"increment.{key}"))
            for key, number in patch.increment.items()
        },
        append=_texts(patch.append, "append") if patch.HasField("append") else {},
        remove=_texts(patch.remove, "remove") if patch.HasField("remove") else {},
        unset=patch.unset,
    )


def revised(facts: Facts, patch: pb.Profile, mask: FieldMask) -> Facts:
    """Return the facts after an update.

    An attribute that the update does not touch keeps its text: going through a
    Struct would round long numbers.

    Raises:
        InvalidArgument: The mask names what does not exist or cannot be written,
            or an attribute is not JSON.
    """
    before = pb.Profile(
        name=patch.name,
        attributes=_struct(facts.attributes),
        email=facts.email,
        phone=facts.phone,
        time_zone=facts.time_zone,
        locale=facts.locale,
    )
    after, taken = apply_update(before, patch, mask)
    for path in mask.paths:
        if path == "etag" or path not in {*taken, "*", "name"}:
            raise invalid_field("update_mask", f"{path} cannot be written", reason="update_mask")
    return Facts(
        attributes=_attributes(facts.attributes, before.attributes, after.attributes),
        email=after.email,
        phone=after.phone,
        time_zone=after.time_zone,
        locale=after.locale,
    )


def event(entry: HistoryEntry) -> pb.ProfileEvent:
    """Return one event of the history."""
    message = pb.ProfileEvent(
        event_id=entry.event_id, type=entry.type, properties=_struct(entry.properties)
    )
    message.occur_time.FromMicroseconds(entry.occur_us)
    message.receive_time.FromMicroseconds(entry.receive_us)
    return message


def _attributes(text: str, before: Struct, after: Struct) -> str:
    if before == after:
        return text
    known, values = split(text), {}
    for key, value in after.fields.items():
        if key in before.fields and before.fields[key] == value:
            values[key] = known[key]
        elif value.WhichOneof("kind") not in {None, "null_value"}:
            field = f"profile.attributes.{key}"
            values[_text(key, field)] = _json(value, field)
    return join(values)


def _texts(values: Struct, prefix: str) -> dict[str, str]:
    """Return the values as JSON texts."""
    return {
        _text(key, f"{prefix}.{key}"): _json(value, f"{prefix}.{key}")
        for key, value in values.fields.items()
    }


def _json(value: Value, field: str) -> str:
    plain = _plain(value, field, DEPTH_MAX)
    # Most are one text or number: the encoder is made anew for each call.
    match plain:
        case str():
            return quote(plain)
        case bool() | None | dict() | list():
            return json.dumps(plain, allow_nan=False)
        case _:
            return repr(plain)


def _plain(value: Value, field: str, depth: int) -> _JSON:
    match value.WhichOneof("kind"):
        case "string_value":
            return _text(value.string_value, field)
        case "number_value":
            return _number(value.number_value, field)
        case "bool_value":
            return value.bool_value
        case "struct_value" | "list_value" if depth == 1:
            raise invalid_field(field, f"nests deeper than {DEPTH_MAX}")
        case "struct_value":
            fields: Mapping[str, Value] = value.struct_value.fields
            return {
                _text(name, field): _plain(inner, field, depth - 1)
                for name, inner in fields.items()
            }
        case "list_value":
            return [_plain(inner, field, depth - 1) for inner in value.list_value.values]
        case _:
            return None


def _number(number: float, field: str) -> float:
    if not math.isfinite(number):
        raise invalid_field(field, "must be a number that JSON has")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _text(text: str, field: str) -> str:
    if "\0" in text:
        raise invalid_field(field, "must not hold U+0000")
    return text


def _struct(text: str) -> Struct:
    struct = Struct()
    if text != "{}":
        struct.update(json.loads(text, parse_int=_double, parse_float=_double))
    return struct


def _double(text: str) -> float | str:
    """Return the number as a Struct holds it; one that is too large for it as text."""
    number = float(text)
    return number if math.isfinite(number) else text
