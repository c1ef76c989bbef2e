"""Traits: numbers reckoned from a person's events, and what is kept to reckon them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple, TypeAlias

QUARTER_US = 900_000_000
"""What a window is exact to. Every zone's days begin on a whole quarter of an hour."""


class Aggregate(IntEnum):
    """How events become a number; the numbers of `beckon.profile.v1.Trait.Aggregate`."""

    COUNT = 1
    SUM = 2
    MIN = 3
    MAX = 4
    LAST = 5
    DISTINCT = 6
    STREAK = 7
    LONGEST_STREAK = 8


STREAKS = frozenset({Aggregate.STREAK, Aggregate.LONGEST_STREAK})


class Calendar(IntEnum):
    """A window that begins with a local day, week (Monday) or month."""

    DAY = 1
    WEEK = 2
    MONTH = 3


class TraitState(IntEnum):
    """Whether its values are complete; `REMOVING` is never told."""

    BACKFILLING = 1
    ACTIVE = 2
    REMOVING = 3


@dataclass(frozen=True, slots=True)
class Rolling:
    """The time up to now."""

    span_us: int
    """Whole quarters of an hour."""


Window: TypeAlias = Rolling | Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A number reckoned from the events of one type."""

    workspace: str
    trait_id: str
    event_type: str
    aggregate: Aggregate
    property: str = ""
    """Top-level key; '': none is read."""
    filter: str = ""
    """CEL over `event`; '': every event counts."""
    window: Window | None = None
    """None: for ever."""
    compare: bool = False
    """Whether the window before is kept as well."""
    backfill: bool = False
    """Whether the history is read on creation."""
    backfilling: bool = False
    """Whether that is still going on: who has no state yet is reckoned from the history."""

    def __hash__(self) -> int:
        """By its id: traits stand in sets, and eleven fields cost a microsecond each time."""
        return hash(self.trait_id)


class Latest(NamedTuple):
    """The number of the latest event; compares by time."""

    occur_us: int
    event_uid: bytes
    """Tells which of two at the same instant is the later."""
    number: Decimal


Cell: TypeAlias = int | Decimal | Latest | frozenset[int]
"""What the events of one quarter come to: any two may be joined, in any order."""

Buckets: TypeAlias = dict[int, Cell]
"""Cells by quarter of an hour since the epoch; all under 0 where there is no window."""

Days: TypeAlias = list[tuple[int, int]]
"""Rows of local days, first and last, as ordinals; apart from each other, in order."""

State: TypeAlias = Buckets | Days
"""What one id's events come to for one trait."""

Number: TypeAlias = int | Decimal


class Value(NamedTuple):
    """What a trait says of a person at one moment; None: nothing."""

    number: Number | None
    previous: Number | None = None


class Declared(NamedTuple):
    """A trait as its owner sees it."""

    trait: Trait
    create_time: datetime
    progress: float
    """Share of the profiles that the backfill has been through."""


class StateKey(NamedTuple):
    """Whose state for which trait."""

    workspace: str
    person_id: str
    trait_id: str
    member_id: str
