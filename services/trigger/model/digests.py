"""Digests: many events, one message."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.trigger.model.events import Occurrence
from services.trigger.model.keys import Key
from services.trigger.model.predicates import Predicate
from services.trigger.model.timing import LocalTime
from services.trigger.model.variants import Message


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """So long from the first event on."""

    length: timedelta


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """Until it has been quiet for a pause, or for as long as there is at most."""

    pause: timedelta
    most: timedelta


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """Until the recipient's clock next shows a time."""

    local_time: LocalTime


Window = FixedWindow | SlidingWindow | CalendarWindow


@dataclass(frozen=True, slots=True)
class UndoRule:
    """An event that takes gathered ones out again."""

    event_type: str
    filter: Predicate | None = None
    """None: whoever acted and what was acted on must be the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestPlan:
    """How a campaign gathers."""

    window: Window
    key_property: str = ""
    urgent: Predicate | None = None
    """What passes is not gathered."""
    undo: UndoRule | None = None
    actor_property: str = ""
    object_property: str = ""
    items_max: int = 50
    message: Message | None = None
    """None: the campaign's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestItem:
    """An event that was gathered. One is in at most one window of its recipient and campaign."""

    key: Key
    window: UUID
    """The event of the passage whose window it is."""
    event: Occurrence
    actor: str
    """Who acted."""
    object: str
    """What was acted on."""
    member: str = ""
    """The id it was for, when its recipient goes by another."""
    removed: str = ""
    """What took it out again; empty: nothing did."""
    remove_time: datetime | None = None
    broadcast: UUID | None = None
    """To which it belongs, when it was told to many."""

    @property
    def origin(self) -> str:
        """The id it was for."""
        return self.member or self.key.profile


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestUndo:
    """An event that takes out what occurred before it, also what comes later."""

    key: Key
    event: Occurrence
    actor: str
    object: str
    member: str = ""
    """As of an item."""


@dataclass(frozen=True, slots=True)
class DigestRecords:
    """What is known of what was gathered, as far as a turn may touch it."""

    items: Sequence[DigestItem] = ()
    undos: Sequence[DigestUndo] = ()


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """What is left in a window whose time has come."""

    count: int
    latest: Occurrence | None
    """Of what is left."""
    removed_count: int


@dataclass(frozen=True, slots=True)
class ObjectTally:
    """How much of what is left in a window is about one object."""

    object: str
    count: int
    actor_count: int


@dataclass(frozen=True, slots=True)
class DigestContent:
    """What a window holds: all of it counted, the latest told."""

    tallies: Sequence[ObjectTally] = field(default=())
    latest: Sequence[DigestItem] = field(default=())
    """The latest first."""

    @property
    def count(self) -> int:
        """How many events are left in it."""
        return sum(tally.count for tally in self.tallies)


@dataclass(frozen=True, slots=True)
class DigestEffects:
    """What a turn wants written of what is gathered."""

    added: tuple[DigestItem, ...] = ()
    removed: tuple[DigestItem, ...] = ()
    undos: tuple[DigestUndo, ...] = ()
    heard: frozenset[UUID] = frozenset()
    """Events that take others out, as far as what was added was judged with them."""


NO_DIGESTS = DigestRecords()


@dataclass(slots=True)
class DigestQuestion:
    """What a turn must know of what was gathered; put together event by event."""

    adding: set[Key] = field(default_factory=set)
    """Keys for which some of the turn's events may be gathered."""
    removing: set[Key] = field(default_factory=set)
    """Keys of which the events of anybody may be taken out."""
    undoing: set[tuple[Key, str]] = field(default_factory=set)
    """Keys, and whose events may be taken out of them."""
    since: datetime | None = None
    """When the first of the turn's events occurred that may be gathered."""
