"""What trigger speaks of: events, people, campaigns, enrollments and their gates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID


class CampaignState(Enum):
    """Where a campaign is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class EnrollmentState(IntEnum):
    """Where one passage through a campaign stands; the numbers are stored."""

    WAITING = 2
    """For its time, or for a deferral to end."""
    SENDING = 3
    """Owed to throttle and delivery."""
    SENT = 4
    """Delivery has it."""
    EXITED = 5
    """Stopped; the last gate says why."""
    CANCELING = 6
    """Stopped when delivery had it or may have had it: its word on that is owed."""


class Gate(NamedTuple):
    """One question that was asked. A tuple: seven are made for every message."""

    name: str
    passed: bool
    detail: str
    time: datetime


class Seen(NamedTuple):
    """What a predicate answers: yes, or no and why."""

    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Where an event's trace is to be continued."""

    trace_id: bytes
    parent_span_id: bytes | None
    sampled: bool


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event, as judging sees it."""

    uid: UUID
    event_id: str
    type: str
    workspace: str
    profile: str
    """Under which id the person goes who did it."""
    occur_time: datetime
    """By the corrected clock."""
    receive_time: datetime
    properties: Mapping[str, Any]
    properties_json: bytes
    """The same, as it came."""
    trace: Trace
    member: str = ""
    """The id that it came under, when that is another of the person's."""


@dataclass(frozen=True, slots=True)
class Person:
    """How a profile stands. Holds no address."""

    profile: str
    """The id that the person goes by."""
    attributes: Mapping[str, Any]
    counts: Mapping[str, int]
    """Events by type."""
    last_times: Mapping[str, datetime]
    """Latest occurrence by type."""
    time_zone: str
    locale: str
    first_seen_time: datetime | None
    last_seen_time: datetime | None
    attributes_json: bytes = b"{}"
    """The attributes, as they came."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Numbers by the trait's id."""
    traits_json: bytes = b"{}"
    """The same, as they came."""
    members: tuple[str, ...] = ()
    """All ids of the person when there are several."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A campaign, ready to be judged with."""

    workspace: str
    campaign: str
    """Its id."""
    state: CampaignState
    version: int
    trigger_type: str
    filter: Predicate | None = None
    recipient_property: str = ""
    """Empty: the profile of the event."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """One profile's passage through a campaign because of one event."""

    key: Key
    event: Occurrence
    """That began it, or restarted it."""
    state: EnrollmentState
    entry_time: datetime
    """When the event occurred that began it, also after restarts: re-entry is measured from it."""
    due_time: datetime
    """When the message is or was due."""
    wake_time: datetime | None
    """When to look at it again; later than due after a deferral. None: its campaign is paused."""
    expire_time: datetime
    gates: tuple[Gate, ...]
    decide_time: datetime
    campaign_version: int
    channel: int = 0
    """What the send is, fixed when it is released: an edit must not make it another send."""
    template: str = ""
    critical: bool = False
    revision: int = 0
    """Counts its changes in the store; 0: not stored yet."""
    release_time: datetime | None = None
    """When it was last released to throttle."""
    member: str = ""
    """The id it was begun under, when the person goes by another: for ever, as sends are named
    after it."""

    @property
    def origin(self) -> str:
        """The id it was begun under."""
        return self.member or self.key.profile


@dataclass(frozen=True, slots=True)
class Refusal:
    """A trigger event that began nothing."""

    key: Key
    event: Occurrence
    gates: tuple[Gate, ...]
    decide_time: datetime
    campaign_version: int
    member: str = ""
    """As of an enrollment."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which ids are one person from now on."""

    workspace: str
    profile: str
    """Under which of them she goes."""
    members: tuple[str, ...]
    version: int
    """0: read off how somebody stands, not told by the log."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who is to be forgotten."""

    workspace: str
    erasure: str
    """Id of the receipt."""
    profiles: tuple[str, ...]


IdentityChange = Identity | Erasure


class NoticeKind(Enum):
    """What another service is to hear."""

    IDENTITY = "identity"
    """Throttle: which ids are one person."""
    ERASE_AT_THROTTLE = "erase_at_throttle"
    ERASE_AT_DELIVERY = "erase_at_delivery"
    REMOVAL = "removal"
    """Profile: what a service has removed."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that another service is to hear, until it has answered."""

    id: UUID
    kind: NoticeKind
    payload: bytes
    attempts: int = 0


# Verdicts on a trigger event.


@dataclass(frozen=True, slots=True)
class Enter:
    """A passage begins."""

    enrollment: Enrollment


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing begins; the last gate says why."""

    refusal: Refusal


# Verdicts on an exception event and a passage.


@dataclass(frozen=True, slots=True)
class Stop:
    """The message is not to go out."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Restart:
    """The delay begins anew, with this event for the trigger."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Leave:
    """The event does not concern the passage."""


# Verdicts on a passage whose time has come.


@dataclass(frozen=True, slots=True)
class Release:
    """The message goes to throttle."""

    enrollment: Enrollment


@dataclass(frozen=True, slots=True)
class Hold:
    """The campaign is paused; waits until it is launched again."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The message is not to go out any more."""

    gates: tuple[Gate, ...]


# What throttle says.


@dataclass(frozen=True, slots=True)
class Allowed:
    """The send may go."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not before."""

    until: datetime
    gate: str
    detail: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Never."""

    gate: str
    detail: str


ThrottleVerdict = Allowed | Deferred | Suppressed


@dataclass(frozen=True, slots=True)
class Effects:
    """What a turn wants written, all or nothing."""

    enrollments: tuple[Enrollment, ...] = ()
    """New and changed ones, as they are to stand."""
    refusals: tuple[Refusal, ...] = ()
    quarantined: tuple["Quarantined", ...] = ()
    replayed: tuple[UUID, ...] = ()
    """Quarantined events that are done with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An event, or a whole record, that could not be observed or judged."""

    id: UUID
    workspace: str
    profile: str = ""
    event_id: str = ""
    type: str = ""
    error: bytes
    """A serialized `google.rpc.Status`."""
    payload: bytes
    """A serialized `LogRecord` of that event alone, or the whole record as it came."""
    observed: bool
    """Whether profile has it; judging is all that is left to do then."""
    partition: int
    create_time: datetime = field(kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCampaign:
    """A campaign as it is kept."""

    workspace: str
    campaign: str
    state: str
    spec: bytes
    """A serialized Campaign; what the other fields say is not in it."""
    version: int
    revision: int
    create_time: datetime
    update_time: datetime
    launch_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """A quarantined event as it is kept."""

    id: UUID
    workspace: str
    profile: str
    event_id: str
    type: str
    error: bytes
    payload: bytes
    observed: bool
    partition: int
    create_time: datetime
    replay_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision: what was decided for a profile, a campaign and a trigger event."""

    profile: str
    member: str
    """The id that it was begun under, when the person goes by another."""
    campaign: str
    event_uid: UUID
    event_id: str
    state: int | None
    """None: refused."""
    gates: tuple[Gate, ...]
    decide_time: datetime
    due_time: datetime | None
    wake_time: datetime | None
    campaign_version: int
    channel: int
    trace_id: bytes
