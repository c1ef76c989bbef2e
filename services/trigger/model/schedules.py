"""When a campaign goes out to all of an audience."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class Planned(NamedTuple):
    """One time at which it goes out."""

    start_time: datetime
    """When it begins."""
    civil: str
    """`2026-12-01T09:00`, what some clock shows then; empty: at launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The times of a campaign, and its audience."""

    audience: bytes
    """A serialized `beckon.trigger.v1.Audience`."""
    first: datetime | None = None
    """Civil. None: at launch, or as `again` says."""
    again: Callable[[datetime], datetime | None] | None = None
    """The next civil time after one; None: there is none. Absent: it goes out once."""
    time_zone: str = ""
    """Empty: the workspace's."""
    recipient_time: bool = False
    """By the clock of each recipient."""
