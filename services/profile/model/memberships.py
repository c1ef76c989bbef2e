"""How people stand to segments."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

SEGMENT_ENTERED = "segment_entered"
SEGMENT_EXITED = "segment_exited"


class SegmentState(IntEnum):
    """Whether the members of a segment are complete; numbered as in the contract."""

    BUILDING = 1
    ACTIVE = 2


class Membership(NamedTuple):
    """How one person stands to one segment."""

    member: bool = False
    transition: int = 0
    """How often she went in or out."""
    enter_us: int = 0
    """Went in last; microseconds since the epoch; 0: never."""
    exit_us: int = 0
    due_us: int | None = None
    """Time alone may change it then, not earlier; None: never."""


class Answer(NamedTuple):
    """What a filter says of a person at a moment."""

    holds: bool
    due_us: int | None


@dataclass(frozen=True, slots=True)
class SegmentDefinition:
    """A segment as its callers see it."""

    workspace: str
    segment_id: str
    segment_key: int
    filter: str
    description: str
    state: SegmentState
    version: int
    create_time: datetime
    update_time: datetime
    progress: float
    member_count: int


@dataclass(frozen=True, slots=True)
class ConditionAnswer:
    """One condition of a filter, and whether it holds of a person; None: it cannot be said."""

    expression: str
    holds: bool | None
