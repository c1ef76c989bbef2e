"""The types of attributes: the first value in a workspace settles what a key takes for good."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from services.profile.model import Refused
from services.profile.model.attributes import (
    ATTRIBUTES_MAX,
    AttributeType,
    TooManyAttributes,
    TypeConflict,
)

NULL = "null"

KEY_FORM = "a key must have 1 to 128 characters, none of them /, and not begin with $"
# `$` begins an operation, `/` ends a part of a name; the others PostgreSQL does not keep.
_KEY = re.compile(r"(?!\$)[^/\0\ud800-\udfff]{1,128}")

_NOTHING: Mapping[str, AttributeType] = MappingProxyType({})
_BY_FIRST_SIGN = {
    '"': AttributeType.STRING,
    "t": AttributeType.BOOLEAN,
    "f": AttributeType.BOOLEAN,
    "[": AttributeType.LIST,
    "{": AttributeType.OBJECT,
}
_RFC_3339 = re.compile(
    r'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?'
    r'(Z|[+-][0-9]{2}:[0-9]{2})"'
)


class Types:
    """What the attributes of one workspace take, with what is settled on the way.

    Filled as values are admitted, so that of two writes in one transaction the later
    meets the type of the earlier; `new` is then to be kept.
    """

    __slots__ = ("_known", "_room", "new")

    def __init__(
        self, known: Mapping[str, AttributeType] = _NOTHING, *, room: int = ATTRIBUTES_MAX
    ) -> None:
        """Take what is settled, and how many more keys there may be."""
        self._known = known
        self._room = room
        self.new: dict[str, AttributeType] = {}

    def get(self, key: str) -> AttributeType | None:
        """Return what the key takes; None: nothing is settled."""
        return self._known.get(key) or self.new.get(key)

    def declare(self, key: str, kind: AttributeType, field: str) -> Refused | None:
        """Settle the type of a key before its first value."""
        known = self.get(key)
        if known is None:
            return self._settle({key: kind})
        return None if known is kind else conflict(field, key, known, got=kind)

    def admit(self, values: Iterable[tuple[str, str, str]]) -> Refused | None:
        """Settle the types of new keys; all of the values or none.

        Each is a key, its value as JSON text other than null, and the field to name
        when it is refused.
        """
        settled: dict[str, AttributeType] = {}
        for key, value, field in values:
            got = type_of(value)
            known = self.get(key)
            if known is None:
                settled[key] = got
            elif not takes(known, got):
                return conflict(field, key, known, got=got)
        return self._settle(settled)

    def _settle(self, settled: Mapping[str, AttributeType]) -> Refused | None:
        if settled and len(self.new) + len(settled) > self._room:
            return TooManyAttributes(
                "attributes", f"the workspace would have more than {ATTRIBUTES_MAX} attributes"
            )
        self.new.update(settled)
        return None


def is_key(key: str) -> bool:
    """Return whether an attribute may have this key."""
    return _KEY.fullmatch(key) is not None


def type_of(value: str) -> AttributeType:
    """Return the type of a JSON text other than null."""
    found = _BY_FIRST_SIGN.get(value[0], AttributeType.NUMBER)
    if found is AttributeType.STRING and _is_timestamp(value):
        return AttributeType.TIMESTAMP
    return found


def takes(known: AttributeType, got: AttributeType) -> bool:
    """Return whether an attribute takes a value of this type: any text is a string."""
    return known is got or (known is AttributeType.STRING and got is AttributeType.TIMESTAMP)


def conflict(field: str, key: str, known: AttributeType, *, got: AttributeType) -> TypeConflict:
    """Return the refusal of a value."""
    description = f"attribute {key} takes {known.name}, got {got.name}"
    return TypeConflict(field, description, key, known, got)


def _is_timestamp(value: str) -> bool:
    match = _RFC_3339.fullmatch(value)
    if match is None:
        return False
    try:
        # Without the fraction, which may be finer than ours.
        datetime.fromisoformat(match[1] + match[3])
    except ValueError:
        return False
    return True
