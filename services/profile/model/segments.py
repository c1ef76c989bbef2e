"""Segments, compiled: a filter is SQL by the time it gets here."""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

SqlValue: TypeAlias = str | int | list[str]
"""What a parameter of a filter may be."""

_SLOT = re.compile(r"\{(\d+|now)\}")


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
    """Every event of the person can: it asks when she was seen."""
    any_attribute: bool = False
    """It asks for the attributes, or traits, as a whole."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A CEL expression as SQL over `profiles AS p`."""

    source: str
    sql: str
    """True, false, or NULL where it cannot be said. With slots for the parameters: `{0}`, and
    `{now}` for microseconds since the epoch."""
    due_sql: str
    """Microseconds since the epoch when time alone may change the answer; NULL: never."""
    parameters: tuple[SqlValue, ...]
    depends_on: Dependencies

    def bind(self, now_us: int, *, first: int = 1) -> "Bound":
        """Return the SQL and its parameters, which are numbered from `$first` on."""
        binding = Binding(now_us, first=first)
        return Bound(binding.add(self.sql, self.parameters), binding.parameters)

    def add_to(self, binding: "Binding") -> str:
        """Return the SQL for a statement that holds more."""
        return binding.add(self.sql, self.parameters)

    def add_due_to(self, binding: "Binding") -> str:
        """Return the SQL for when the answer is due, likewise."""
        return binding.add(self.due_sql, self.parameters)


@dataclass(frozen=True, slots=True)
class Bound:
    """SQL with its parameters."""

    sql: str
    parameters: list[object]


@dataclass(slots=True)
class Binding:
    """A statement that is put together: what its parameters are so far."""

    now_us: int
    first: int = 1
    """The number of the first parameter: what stands before is the statement's own."""
    parameters: list[object] = field(default_factory=list)

    def add(self, sql: str, parameters: tuple[SqlValue, ...]) -> str:
        """Return the SQL with its slots numbered; only those that it has become parameters."""
        places: dict[str, int] = {}

        def place(slot: re.Match[str]) -> str:
            name = slot[1]
            if name not in places:
                self.parameters.append(self.now_us if name == "now" else parameters[int(name)])
                places[name] = self.first + len(self.parameters) - 1
            # Said once where it stands, PostgreSQL need not guess.
            return f"${places[name]}::bigint" if name == "now" else f"${places[name]}"

        return _SLOT.sub(place, sql)


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
