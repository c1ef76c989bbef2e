"""When a message is due, and when it may go out."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A time of day by a person's clock."""

    minute: int
    """Of the day."""
    weekdays: frozenset[int] = frozenset()
    """Only on these, Monday being 1. Empty: on any."""

    def on(self, weekday: int) -> bool:
        """Say whether it is on that day of the week."""
        return _among(weekday, self.weekdays)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the day by a person's clock."""

    start: int
    """First minute of the day at which they are."""
    end: int
    """First minute at which they are not any more; up to `start`: of the day after."""
    weekdays: frozenset[int] = frozenset()
    """Only those that begin on these, Monday being 1. Empty: on any."""

    @property
    def span(self) -> int:
        """How many minutes they are, by the clock."""
        return (self.end - self.start - 1) % DAY_MINUTES + 1

    def on(self, weekday: int) -> bool:
        """Say whether they begin on that day of the week."""
        return _among(weekday, self.weekdays)

    def at(self, weekday: int, minute: int) -> bool:
        """Say whether they are when a clock shows that."""
        yesterday = (weekday - 2) % 7 + 1
        today = self.start <= minute < self.start + self.span
        since = minute + DAY_MINUTES < self.start + self.span
        return (today and self.on(weekday)) or (since and self.on(yesterday))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a message is due beyond its campaign's delay, and when it may go out."""

    event_property: str = ""
    """Of the event, with the time to count from. Empty: its occurrence."""
    offset: timedelta = timedelta(0)
    """Added to that time."""
    local_time: LocalTime | None = None
    """Then until her clock shows this."""
    spread: timedelta = timedelta(0)
    """Then up to so long more."""
    window: tuple[Hours, ...] = ()
    """Hours at which it may go out. Empty: any."""

    @property
    def waits(self) -> bool:
        """Whether there is more to reckon than the delay."""
        return bool(
            self.event_property or self.offset or self.local_time is not None or self.spread
        )


AT_ONCE = Timing()
"""After the delay, at any hour."""


class Due(NamedTuple):
    """When a message is due."""

    time: datetime
    seen: str
    """How it was reckoned."""


class NoDue(NamedTuple):
    """A message is never due."""

    seen: str
    """Why."""


def _among(weekday: int, weekdays: Collection[int]) -> bool:
    return not weekdays or weekday in weekdays
