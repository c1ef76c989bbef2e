"""Segments, compiled: a filter is SQL by the time it gets here."""

import re
from dataclasses import dataclass
from typing import TypeAlias

SqlValue: TypeAlias = str | int | float | bool | list[str] | list[float] | None
"""What a parameter of a filter may be."""

_SLOT = re.compile(r"\{(\d+)\}")
_NOW = "{now}"


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What can make a filter's answer another for one person."""

    event_types: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    """Keys; `email`, `phone`, `time_zone` and `locale` among them."""
    traits: frozenset[str] = frozenset()
    relations: frozenset[str] = frozenset()
    """Kinds."""
    devices: bool = False
    any_event: bool = False
    """Every event of the person can: it asks when she was seen, or for all her counters."""
    any_attribute: bool = False
    """It asks for the attributes as a whole."""


@dataclass(frozen=True, slots=True)
class Bound:
    """SQL with its parameters, ready to stand in a query over `profiles AS p`."""

    sql: str
    """True, false or NULL where it cannot be said."""
    due_sql: str
    """Microseconds since the epoch when time alone may change the answer; NULL: never."""
    parameters: list[SqlValue]


@dataclass(frozen=True, slots=True)
class Condition:
    """One leaf of a filter: what stands between `&&` and `||`."""

    source: str
    """As it stands in the filter."""
    sql: str
    """With slots, as in the filter, whose parameters it shares."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A CEL expression as SQL over `profiles AS p`."""

    source: str
    sql: str
    """With slots for parameters: `{0}`, and `{now}` for microseconds since the epoch."""
    due_sql: str
    parameters: tuple[SqlValue, ...]
    depends_on: Dependencies
    conditions: tuple[Condition, ...] = ()

    def bind(self, now_us: int, *, first: int = 1) -> Bound:
        """Return the SQL with parameters numbered from `$first` on."""
        return Bound(
            number(self.sql, first),
            number(self.due_sql, first),
            [now_us, *self.parameters],
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as every turn needs it."""

    workspace: str
    segment_id: str
    segment_key: int
    """Another for every filter that the segment ever had."""
    building: bool
    """Not all profiles were looked at yet: nobody enters or leaves with an event."""
    filter: Filter


def number(sql: str, first: int) -> str:
    """Return SQL with its slots numbered: now is `$first`, the parameters follow."""
    numbered = _SLOT.sub(lambda slot: f"${first + 1 + int(slot[1])}", sql)
    return numbered.replace(_NOW, f"${first}")
