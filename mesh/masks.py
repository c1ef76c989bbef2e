"""Update masks (AIP-134, AIP-161): what an Update changes, and what it may not."""

from collections.abc import Iterable
from typing import Any, TypeVar

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from mesh.errors import FieldViolation, InvalidArgument

_M = TypeVar("_M", bound=Message)


def apply_update(
    current: _M, patch: _M, mask: FieldMask, *, field: str = "update_mask"
) -> tuple[_M, list[str]]:
    """Return `current` with the masked fields of `patch`, and the paths that were taken.

    Without a mask the populated fields of `patch` are taken; `*` takes all. A
    field of the mask that is empty in `patch` is cleared. OUTPUT_ONLY fields are
    left alone, and IDENTIFIER and IMMUTABLE ones may be repeated but not changed.
    An entry of a map is named by its key (`attributes.tier`, or in backticks).

    Raises:
        InvalidArgument: A path names no field, or a field that never changes.
    """
    updated = type(current)()
    updated.CopyFrom(current)
    violations: list[FieldViolation] = []
    taken: list[str] = []
    for path in _paths(patch, mask):
        try:
            if _take(updated, patch, _split(path)):
                taken.append(path)
        except ValueError as error:
            violations.append(FieldViolation(field, f"{path}: {error}", "update_mask"))
    if violations:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            f"{field}: {violations[0].description}",
            violations=violations,
        )
    return updated, taken


def _paths(patch: Message, mask: FieldMask) -> Iterable[str]:
    paths = list(dict.fromkeys(mask.paths))
    if not paths:
        return [field.name for field, _ in patch.ListFields()]
    if "*" in paths:
        return [field.name for field in patch.DESCRIPTOR.fields if _may_change(field)]
    return paths


def _split(path: str) -> list[str]:
    steps: list[str] = []
    rest = path
    while rest:
        if rest.startswith("`"):
            step, quote, rest = rest[1:].partition("`")
            if not quote or (rest and not rest.startswith(".")):
                message = "has an open backtick"
                raise ValueError(message)
            rest = rest[1:]
        else:
            step, dot, rest = rest.partition(".")
            if dot and not rest:
                message = "ends with a dot"
                raise ValueError(message)
        if not step:
            message = "has an empty part"
            raise ValueError(message)
        steps.append(step)
    if not steps:
        message = "is empty"
        raise ValueError(message)
    return steps


def _take(target: Message, source: Message, steps: list[str]) -> bool:
    """Copy what `steps` name from source to target; say whether it may change at all."""
    field = _field(target.DESCRIPTOR, steps[0])
    behavior = _behavior(field)
    if field_behavior_pb2.OUTPUT_ONLY in behavior:
        return False
    if not _may_change(field):
        if _value(source, field) not in (_value(target, field), _default(field)):
            message = "never changes"
            raise ValueError(message)
        return False
    rest = steps[1:]
    if not rest:
        _copy(target, source, field)
        return True
    if _is_map(field):
        return _take_entry(target, source, field, rest)
    if field.message_type is None or field.is_repeated:
        message = f"{field.name} has no fields"
        raise ValueError(message)
    if field.message_type.full_name == "google.protobuf.Struct":
        inner = field.message_type.fields_by_name["fields"]
        return _take_entry(getattr(target, field.name), getattr(source, field.name), inner, rest)
    return _take(getattr(target, field.name), getattr(source, field.name), rest)


def _take_entry(target: Message, source: Message, field: FieldDescriptor, steps: list[str]) -> bool:
    entry = field.message_type
    if entry is None or entry.fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
        message = f"{field.name} is not a map of text keys"
        raise ValueError(message)
    if len(steps) > 1:
        message = f"names a part of an entry of {field.name}; name the entry"
        raise ValueError(message)
    key = steps[0]
    to, given = getattr(target, field.name), getattr(source, field.name)
    if key not in given:
        # Reading a missing message entry would create it.
        if key in to:
            del to[key]
    elif entry.fields_by_name["value"].message_type is not None:
        to[key].CopyFrom(given[key])
    else:
        to[key] = given[key]
    return True


def _copy(target: Message, source: Message, field: FieldDescriptor) -> None:
    target.ClearField(field.name)
    if field.has_presence and not source.HasField(field.name):
        return
    if field.is_repeated or _is_map(field):
        getattr(target, field.name).MergeFrom(getattr(source, field.name))
    elif field.message_type is not None:
        getattr(target, field.name).CopyFrom(getattr(source, field.name))
    else:
        setattr(target, field.name, getattr(source, field.name))


def _field(message: Any, name: str) -> FieldDescriptor:
    field: FieldDescriptor | None = message.fields_by_name.get(name)
    if field is None:
        text = f"{message.name} has no field {name}"
        raise ValueError(text)
    return field


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _behavior(field: FieldDescriptor) -> list[int]:
    extension: Any = field_behavior_pb2.field_behavior
    return list(field.GetOptions().Extensions[extension])


def _may_change(field: FieldDescriptor) -> bool:
    fixed = {
        field_behavior_pb2.OUTPUT_ONLY,
        field_behavior_pb2.IDENTIFIER,
        field_behavior_pb2.IMMUTABLE,
    }
    return not fixed.intersection(_behavior(field))


def _value(message: Message, field: FieldDescriptor) -> object:
    return getattr(message, field.name)


def _default(field: FieldDescriptor) -> object:
    return field.default_value if field.message_type is None else None
