"""What values attributes take, and why one is refused."""

from dataclasses import dataclass
from enum import IntEnum

from services.profile.model.people import Refused

ATTRIBUTES_MAX = 2000
"""Keys a workspace: more than that are data, not attributes."""


class AttributeType(IntEnum):
    """As numbered in the books and on the wire."""

    STRING = 1
    NUMBER = 2
    BOOLEAN = 3
    TIMESTAMP = 4
    """Text of RFC 3339 with date, time and offset."""
    LIST = 5
    OBJECT = 6


@dataclass(frozen=True, slots=True)
class TypeConflict(Refused):
    """A value of another type than the attribute has."""

    attribute: str
    type: AttributeType
    got: AttributeType


@dataclass(frozen=True, slots=True)
class TooManyAttributes(Refused):
    """A key that would be one more than a workspace may have."""
