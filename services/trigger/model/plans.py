"""Campaigns, ready to be judged with."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from services.trigger.model.dates import DatePlan
from services.trigger.model.digests import DigestPlan
from services.trigger.model.events import Occurrence
from services.trigger.model.keys import Key
from services.trigger.model.predicates import Predicate
from services.trigger.model.schedules import Schedule
from services.trigger.model.settings import DEFAULTS, Settings
from services.trigger.model.timing import AT_ONCE, Timing
from services.trigger.model.variants import Goal, Message, Variants
from services.trigger.model.versions import Past


class CampaignState(Enum):
    """Where a campaign is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class ExceptionRule:
    """An event that stops a waiting message."""

    event_type: str
    filter: Predicate | None = None
    gate: str = "exception"
    """Under which name it is put on record."""
    match: "Match | None" = None
    """It must have this property, too."""
    early: bool = False
    """It may be heard before what it stops: looked for again at the message's time."""

    def hears(self, event: Occurrence) -> bool:
        """Say whether the event is of this kind; its filter is not asked."""
        return event.type == self.event_type and (self.match is None or self.match.fits(event))


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

    def fits(self, event: Occurrence) -> bool:
        """Say whether the event has it."""
        value = event.properties.get(self.property)
        return isinstance(value, str) and value in self.values


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
    timing: Timing = AT_ONCE
    date: DatePlan | None = None
    """By which date of the person's own it is planned; None: by the event."""
    dwell: timedelta | None = None
    """How long she must stay in the region that she entered, before anything else is waited for."""
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
    variants: Variants | None = None
    """None: everybody gets the same."""
    goals: tuple[Goal, ...] = ()
    reentry_property: str = ""
    """Re-entry is asked for each of its values apart; empty: for all together."""
    simultaneous_max: int = 0
    """0: no limit."""
    ignores_holdout: bool = False
    settings: Settings = DEFAULTS
    """Of its workspace."""
    schedule: Schedule | None = None
    """None: it begins otherwise."""
    relation: bytes = b""
    """Of `RecipientKind.RELATION`: a serialized `beckon.trigger.v1.Recipient.Relation`."""
    launch_time: datetime | None = None
    """When it was first launched; None: never."""
    sends_per_minute: int = 0
    """0: no limit."""
    digest: DigestPlan | None = None
    """None: every event that begins anything is told alone."""
    past: Past = field(default=Past(), compare=False)
    """What it was, as far as somebody may still go by it; of the newest version only."""

    @property
    def elsewhere(self) -> bool:
        """Whether passages begin outside the turns of the recipient's own partition."""
        return self.recipient is not RecipientKind.ACTOR

    @property
    def by_her_clock(self) -> bool:
        """Whether what the recipient's clock shows decides when the message is due."""
        return (
            self.timing.local_time is not None
            or self.date is not None
            or (self.schedule is not None and self.schedule.recipient_time)
        )

    @property
    def message(self) -> Message:
        """What is sent to whom no variant takes."""
        return Message(self.channel, self.template)

    @property
    def waits(self) -> bool:
        """Whether anything may come between an event and its message."""
        return bool(self.delay or self.dwell or self.date or self.timing.waits)

    @property
    def debounces(self) -> bool:
        """Whether an event of the trigger's own type may restart the delay."""
        return any(rule.event_type == self.trigger_type for rule in self.exceptions)

    def begins(self, event: Occurrence) -> bool:
        """Say whether the event is of the kind that begins it; its filter is not asked."""
        return event.type == self.trigger_type and (self.match is None or self.match.fits(event))

    def key(self, profile: str) -> Key:
        """Return where the passages of `profile` through this campaign are."""
        return Key(self.workspace, profile, self.campaign)
