"""People of many ids: what was recorded under each, and the edges that unite them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from services.profile.model.people import NOBODY, Event, PersonKey, Profile, Refused

IDENTIFY = "identify"
"""The event type that says which ids are one person."""

MEMBERS_MAX = 100
"""Ids of one person: beyond it something unites strangers."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Of who has not been written yet."""


class Recorded(NamedTuple):
    """What was recorded under one id of a person with several."""

    profile: Profile = NOBODY
    """Its version and traits say nothing."""
    create_time: datetime = NEVER


_NOTHING: Mapping[str, Recorded] = MappingProxyType({})


class Person(NamedTuple):
    """One person, under the id that gives the name; of several ids, their union."""

    key: PersonKey
    profile: Profile = NOBODY
    """Its version is the one lock on all that is known of the person."""
    member_ids: tuple[str, ...] = ()
    """All ids, sorted; empty: only its own."""
    contributions: Mapping[str, Recorded] = _NOTHING
    """By id; empty where there is only one, or where they were not asked for."""
    create_time: datetime = NEVER
    update_time: datetime = NEVER

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, also of who has but one."""
        return self.member_ids or (self.key[1],)


class EdgeState(IntEnum):
    """As numbered in the books and on the wire."""

    LIVE = 1
    UNDONE = 2
    REFUSED = 3


class EdgeOrigin(IntEnum):
    """As numbered in the books and on the wire."""

    CALL = 1
    IDENTIFY = 2


class Edge(NamedTuple):
    """Somebody's word that two ids are one person."""

    workspace: str
    merge_id: UUID
    from_id: str
    into_id: str
    state: EdgeState
    origin: EdgeOrigin
    reason: str
    create_time: datetime
    undo_time: datetime | None = None
    sequence: int = 0
    """Grows from edge to edge; 0: not written yet."""


class Union(NamedTuple):
    """One change of unity: what the log is told of it."""

    edge: Edge
    person: Person
    """As united."""
    moved_ids: tuple[str, ...]
    """Ids that go under another name from now on."""


class Claim(NamedTuple):
    """What an `identify` event says of one id."""

    member_id: str
    alias: bool
    """An alias is united whoever has it; an anonymous id only unless it is somebody else's."""


class PersonObservation(NamedTuple):
    """What events made of one person."""

    person: Person
    kept: list[Event]
    """Those that go to the history."""
    stood: list[tuple[Event, Person]]
    """How the person stood just after each event of a wanted type."""
    refused: list[tuple[Event, Refused]]


class Renaming(NamedTuple):
    """People whose ids go under other names now."""

    before: list[Person]
    after: list[Person]
    unions: list[Union]
    """In their order; none where people were parted."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the events of a turn made of everybody."""

    changes: list[tuple[Person | None, Person]] = field(default_factory=list)
    """Each person as known, if at all, and as she is now, under the same name."""
    renamings: list[Renaming] = field(default_factory=list)
    refused_edges: list[Edge] = field(default_factory=list)
    kept: list[Event] = field(default_factory=list)
    stood: list[tuple[Event, Person]] = field(default_factory=list)
    refused: list[tuple[Event, Refused]] = field(default_factory=list)

    @property
    def people(self) -> list[Person]:
        """Everybody who changed, as they are now."""
        renamed = [person for one in self.renamings for person in one.after]
        return [*(after for _, after in self.changes), *renamed]
