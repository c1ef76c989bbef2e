"""Campaigns, ready to be judged with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from services.trigger.model.events import Occurrence, Person


class CampaignState(Enum):
    """Where a campaign is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class Seen(NamedTuple):
    """What a predicate answers: yes, or no and why."""

    passed: bool
    detail: str


Predicate = Callable[[Occurrence, Person, Occurrence | None, datetime], Seen]
"""A compiled filter over an event, a profile, the trigger (for exceptions) and now."""


@dataclass(frozen=True, slots=True)
class ExceptionRule:
    """An event that stops a waiting message."""

    event_type: str
    filter: Predicate | None = None


class Key(NamedTuple):
    """Whose passages through which campaign."""

    workspace: str
    profile: str
    campaign: str


class RecipientKind(Enum):
    """Who gets the message."""

    ACTOR = "actor"
    """The event's own profile."""
    PROPERTY = "property"
    """Whom a property of the event names."""
    RELATION = "relation"
    """Who is related to the event's own profile: a broadcast."""
    TEAM = "team"
    """Always the same few."""
    AUDIENCE = "audience"
    """Whom the event was made for: of a schedule, or asked for by a caller."""


@dataclass(frozen=True, slots=True)
class Match:
    """A property that the trigger's event must have with one of some values.

    It is how events find their campaigns, not a gate: others leave no refusal.
    """

    property: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A campaign, ready to be judged with."""

    workspace: str
    campaign: str
    """Its id."""
    state: CampaignState
    version: int
    trigger_type: str
    match: Match | None = None
    filter: Predicate | None = None
    recipient: RecipientKind = RecipientKind.ACTOR
    recipient_property: str = ""
    """Of `RecipientKind.PROPERTY`."""
    team: tuple[str, ...] = ()
    """Of `RecipientKind.TEAM`."""
    include_actor: bool = False
    delay: timedelta = timedelta(0)
    exceptions: tuple[ExceptionRule, ...] = ()
    start_time: datetime | None = None
    end_time: datetime | None = None
    reentry_interval: timedelta | None = None
    """None: once."""
    max_trigger_lateness: timedelta = timedelta(hours=1)
    time_to_live: timedelta = timedelta(hours=72)
    channel: int = 0
    """Number of a `beckon.type.v1.Channel`."""
    template: str = ""
    critical: bool = False

    @property
    def debounces(self) -> bool:
        """Whether an event of the trigger's own type may restart the delay."""
        return any(rule.event_type == self.trigger_type for rule in self.exceptions)

    def key(self, profile: str) -> Key:
        """Return where the passages of `profile` through this campaign are."""
        return Key(self.workspace, profile, self.campaign)
