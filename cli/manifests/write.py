"""Writes a resource as the YAML that would bring it about."""

from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as ProtoMessage

from cli.durations import format_duration
from cli.manifests import kinds
from cli.manifests.kinds import Kind
from cli.output import enum_text, last


def to_yaml(kind: Kind, message: ProtoMessage) -> str:
    """Return a document; applying it again changes nothing."""
    content: dict[str, Any] = {"kind": kind.name, "id": last(message.name)}  # type: ignore[attr-defined]
    if kind.states and message.state:  # type: ignore[attr-defined]
        content["state"] = enum_text(message, "state")
    content |= as_plain(message)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def as_plain(message: ProtoMessage) -> dict[str, Any]:
    """Return what a manifest would say of a message: set fields only, in the order of the proto."""
    found: dict[str, Any] = {}
    for name, field in kinds.writable(kinds.descriptor_of(message)).items():
        value = getattr(message, name)
        if kinds.is_map(field):
            if value:
                found[name] = {key: MessageToDict(value[key]) for key in sorted(value)}
        elif kinds.repeated(field):
            if value:
                found[name] = [as_plain(item) for item in value]
        elif field.message_type is not None or field.containing_oneof is not None:
            if message.HasField(name):
                found[name] = _single(message, field)
        elif value != field.default_value:
            single = _single(message, field)
            if single != kinds.DEFAULTS.get(field.full_name):
                found[name] = single
    return found


def _single(message: ProtoMessage, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.message_type is None:
        if field.type == FieldDescriptor.TYPE_ENUM:
            return enum_text(message, field.name)
        return last(value) if field.full_name in kinds.REFERENCES else value
    match field.message_type.full_name:
        case kinds.DURATION:
            return format_duration(value.ToTimedelta())
        case kinds.TIMESTAMP:
            return value.ToJsonString()
        case _:
            return as_plain(value)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
