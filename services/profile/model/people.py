"""People and their events.

Named tuples where thousands are made a second: a frozen dataclass costs four times as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from uuid import UUID

PROFILE_UPDATED = "profile_updated"
"""The event type whose properties set facts of the profile."""

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US
"""One partition of the history."""

PersonKey: TypeAlias = tuple[str, str]
"""Workspace and profile id."""


Counter: TypeAlias = tuple[int, int, int]
"""How often events of one type occurred, first and last. Plain, as its decoder makes it in C."""


class Facts(NamedTuple):
    """What is known of a person, other than by counting."""

    attributes: str = "{}"
    """A JSON object."""
    email: str = ""
    phone: str = ""
    time_zone: str = ""
    locale: str = ""
    times: str = "{}"
    """A JSON object: when each attribute or field was written last, in microseconds; also of one
    that is unset since."""


class Profile(NamedTuple):
    """One person as we know them."""

    version: int = 0
    """Grows by one with every change; 0: not written yet."""
    facts: Facts = Facts()
    counters: Mapping[str, Counter] = {}  # never changed in place
    first_seen_us: int = 0
    """Microseconds since the epoch; 0: never."""
    last_seen_us: int = 0
    traits: str = "{}"
    """A JSON object of numbers."""


NOBODY = Profile()


class Event(NamedTuple):
    """Something a person did, with its place in the log: a row of the history, in its order."""

    receive_us: int
    occur_us: int
    """By the corrected clock."""
    fingerprint: int
    """Hash of the content: equal for a repeat, other for a clash."""
    event_uid: UUID
    log_partition: int
    log_index: int
    """Place in the log record."""
    workspace: str
    profile_id: str
    event_id: str
    type: str
    log_position: str
    properties: str
    """A JSON object."""

    @property
    def person(self) -> PersonKey:
        """Who did it."""
        return self.workspace, self.profile_id


class Earlier(NamedTuple):
    """An event with the same id that is in the history already."""

    receive_us: int
    fingerprint: int
    log_partition: int
    log_position: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that cannot be kept, because a field of it is bad."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Reused:
    """An event that cannot be kept, because its id belongs to another."""

    event_id: str


Refusal: TypeAlias = Refused | Reused


class Observation(NamedTuple):
    """What events made of one person."""

    profile: Profile
    kept: list[Event]
    """Those that go to the history."""
    stood: list[tuple[Event, Profile]]
    """How the person stood just after each event of a wanted type."""
    refused: list[tuple[Event, Refused]]


class Sorting(NamedTuple):
    """Events told apart by whether they were seen before."""

    fresh: list[Event]
    retried: list[Event]
    """In the history already from this very place: without effect, no duplicates."""
    duplicates: list[Event]
    reused: list[Event]
    """Same id as another, other content."""


class HistoryEntry(NamedTuple):
    """An event as it is shown to who asks for a person's history."""

    receive_us: int
    log_index: int
    event_uid: UUID
    event_id: str
    type: str
    occur_us: int
    properties: str


class FoundEvent(NamedTuple):
    """An event as it is shown to who judges what would have been heard."""

    event_id: str
    type: str
    occur_us: int
    receive_us: int
    properties: str
    profile_id: str
