"""Writes a resource as the YAML that would bring it about."""

from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.struct_pb2 import Value

from cli.durations import format_duration
from cli.manifests import kinds
from cli.manifests.kinds import Kind
from cli.output import enum_text, last
from mesh.structs import whole_numbers


def to_yaml(kind: Kind, message: ProtoMessage) -> str:
    """Return a document; applying it again changes nothing."""
    content: dict[str, Any] = {"kind": kind.name}
    if not kind.singleton:
        content["id"] = last(message.name)  # type: ignore[attr-defined]
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
                found[name] = {key: _anything(value[key]) for key in sorted(value)}
        elif kinds.repeated(field):
            if value:
                found[name] = [_plain_value(field, item) for item in value]
        elif field.message_type is not None or field.containing_oneof is not None:
            if message.HasField(name):
                found[name] = _plain_value(field, value)
        elif value != field.default_value:
            single = _plain_value(field, value)
            if single != kinds.DEFAULTS.get(field.full_name):
                found[name] = single
    return found


def _plain_value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        if field.type == FieldDescriptor.TYPE_ENUM:
            return kinds.enum_word(field, value)
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return whole_numbers(value)
        return last(value) if field.full_name in kinds.REFERENCES else value
    match field.message_type.full_name:
        case kinds.DURATION:
            return format_duration(value.ToTimedelta())
        case kinds.TIMESTAMP:
            return value.ToJsonString()
        case kinds.VALUE:
            return _anything(value)
        case _:
            return as_plain(value)


def _anything(value: Value) -> Any:
    return whole_numbers(MessageToDict(value))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
