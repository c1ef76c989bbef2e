"""What operations make of attributes: set, set-once, increment, append, remove, unset.

Values are JSON texts throughout, so that what is not touched stays to the letter.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Context, Decimal
from types import MappingProxyType
from typing import NamedTuple

from services.profile.model import Refused
from services.profile.model.attributes import AttributeType
from services.profile.rules.attributes import NULL, conflict, type_of
from services.profile.rules.objects import (
    NotAnObject,
    join_list,
    normal,
    same,
    split,
    split_list,
)

LIST_ITEMS_MAX = 1000

_NOTHING: Mapping[str, str] = MappingProxyType({})
_ZERO = "0"
_EMPTY_LIST = "[]"
_INTEGER = re.compile(r"-?[0-9]{1,1000}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# As decimal128: every double has fewer digits, and 0.1 + 0.2 is 0.3.
_DECIMAL = Context(prec=34)
_MARKED = ("set_once", "increment", "append", "remove")


class Operations(NamedTuple):
    """What to do to the attributes of one person, in this order; values are JSON texts."""

    write: Mapping[str, str] = _NOTHING
    """null unsets."""
    set_once: Mapping[str, str] = _NOTHING
    increment: Mapping[str, str] = _NOTHING
    append: Mapping[str, str] = _NOTHING
    """A value, or a list of values."""
    remove: Mapping[str, str] = _NOTHING
    unset: Collection[str] = ()


class Naming(NamedTuple):
    """How the fields of an operation are named where it is refused."""

    write: str
    marked: str
    whole: str
    """For all of the attributes together."""

    def of(self, operation: str, key: str) -> str:
        """Return the field of one key in one operation."""
        if operation == "write":
            return f"{self.write}{key}"
        return f"{self.marked}{operation}.{key}"


EVENT = Naming("properties.", "properties.$", "properties")
PATCH = Naming("set.", "", "attributes")
UPDATE = Naming("profile.attributes.", "", "profile.attributes")


def operations(properties: str) -> Operations | Refused:
    """Return what a `profile_updated` with these properties asks for.

    A key sets an attribute; `$set_once`, `$increment`, `$append`, `$remove` hold an
    object of keys, `$unset` a list of them.
    """
    try:
        write = split(properties)
    except NotAnObject as error:
        return Refused("properties", f"must be a JSON object: {error}")
    if "$" not in properties:
        return Operations(write)
    marked: dict[str, Mapping[str, str]] = {}
    for name in _MARKED:
        content = write.pop(f"${name}", None)
        if content is not None:
            try:
                marked[name] = split(content)
            except NotAnObject:
                return Refused(f"properties.${name}", "must be an object")
    # As floats: an integer of thousands of digits, which is no key either, cannot be read.
    unset = json.loads(write.pop("$unset", _EMPTY_LIST), parse_int=float)
    if not isinstance(unset, list) or not all(isinstance(key, str) for key in unset):
        return Refused("properties.$unset", "must be a list of keys")
    return Operations(write, **marked, unset=unset)


def operate(values: dict[str, str], wanted: Operations, naming: Naming) -> Refused | None:
    """Do the operations to these values, in place; return why it cannot be done.

    A value that would say the same as before stays the text it was.
    """
    for key, value in wanted.write.items():
        _put(values, key, value)
    for key, value in wanted.set_once.items():
        if key not in values:
            _put(values, key, value)
    for name, change in _CHANGES.items():
        asked: Mapping[str, str] = getattr(wanted, name)
        for key, value in asked.items():
            refused = change(values, key, value, naming.of(name, key))
            if refused is not None:
                return refused
    for key in wanted.unset:
        values.pop(key, None)
    return None


def _put(values: dict[str, str], key: str, value: str) -> None:
    if value == NULL:
        values.pop(key, None)
    elif key not in values or not same(values[key], value):
        values[key] = value


def _increment(values: dict[str, str], key: str, by: str, field: str) -> Refused | None:
    if not _NUMBER.fullmatch(by):
        return Refused(field, "must be a number")
    before = values.get(key, _ZERO)
    if not _NUMBER.fullmatch(before):
        return conflict(field, key, type_of(before), got=AttributeType.NUMBER)
    total = _sum(before, by)
    if total is None:
        return Refused(
            field, "the sum is a number that no double holds: too large, or too close to 0"
        )
    _put(values, key, total)
    return None


def _sum(one: str, other: str) -> str | None:
    total: int | Decimal
    if _INTEGER.fullmatch(one) and _INTEGER.fullmatch(other):
        total = int(one) + int(other)
    else:
        try:
            total = _DECIMAL.add(Decimal(one), Decimal(other))
        except ArithmeticError:
            return None
    text = str(total)
    # What is set comes as a double; what is added up is to be no less readable as one.
    nearest = float(text)
    return text if math.isfinite(nearest) and bool(nearest) == bool(total) else None


def _append(values: dict[str, str], key: str, value: str, field: str) -> Refused | None:
    before = values.get(key, _EMPTY_LIST)
    if not before.startswith("["):
        return conflict(field, key, type_of(before), got=AttributeType.LIST)
    items = split_list(before)
    held = set(map(normal, items))
    added: dict[str, str] = {}
    for item in _items(value):
        said = normal(item)
        if said not in held:
            added.setdefault(said, item)
    if added or key not in values:
        values[key] = join_list([*items, *added.values()])
    return None


def _remove(values: dict[str, str], key: str, value: str, field: str) -> Refused | None:
    before = values.get(key, _EMPTY_LIST)
    if not before.startswith("["):
        return conflict(field, key, type_of(before), got=AttributeType.LIST)
    items, gone = split_list(before), set(map(normal, _items(value)))
    left = [item for item in items if normal(item) not in gone]
    if len(left) < len(items):
        values[key] = join_list(left)
    return None


def _items(value: str) -> list[str]:
    return split_list(value) if value.startswith("[") else [value]


_CHANGES: Mapping[str, Callable[[dict[str, str], str, str, str], Refused | None]] = {
    "increment": _increment,
    "append": _append,
    "remove": _remove,
}
