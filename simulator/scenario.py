"""A story with its end: who there is, what happens when, and what is expected to come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.profile.v1.trait_service_pb2 import Trait
from beckon.throttle.v1.frequency_cap_service_pb2 import FrequencyCap
from beckon.trigger.v1.campaign_service_pb2 import Campaign, InFlight

from simulator.post import Answer
from simulator.workspace import Workspace

# What there is at the beginning.


@dataclass(frozen=True, slots=True, kw_only=True)
class Someone:
    """A profile."""

    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """With `time_zone`, `locale`, `email` and `phone`."""
    consents: Mapping[str, str] = field(default_factory=dict)
    """By channel."""
    segments: frozenset[str] = frozenset()
    """Of those that no filter tells."""
    relations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By kind: to whom."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A campaign, in the state in which it is at the beginning."""

    id: str
    campaign: Campaign
    state: str = "active"


# What happens.


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Somebody does something."""

    type: str
    profile: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    occur_time: datetime | None = None
    """None: when it is received."""
    of: str = ""
    """Campaign whose latest message to her it is about: a receipt."""


@dataclass(frozen=True, slots=True)
class Write:
    """A service writes attributes; None unsets one."""

    profile: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Merge:
    """Two ids turn out to be one person."""

    into: str
    other: str


@dataclass(frozen=True, slots=True)
class Say:
    """Somebody subscribes or unsubscribes."""

    profile: str
    channel: str
    consent: str


@dataclass(frozen=True, slots=True)
class Move:
    """A campaign is launched, paused or archived."""

    campaign: str
    state: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A campaign gets another content."""

    campaign: str
    content: Campaign
    in_flight: InFlight.ValueType


@dataclass(frozen=True, slots=True)
class Provide:
    """A channel's provider changes how it answers."""

    channel: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Membership:
    """Somebody enters or leaves a segment that no filter tells."""

    profile: str
    segment: str
    inside: bool


@dataclass(frozen=True, slots=True)
class Relate:
    """Somebody relates to somebody, or does no more."""

    profile: str
    kind: str
    other: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A caller asks for a campaign by the API."""

    campaign: str
    profile: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


Act = Event | Write | Merge | Say | Move | Edit | Provide | Membership | Relate | Ask


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at an instant."""

    time: datetime
    act: Act
    place: str = ""
    """Where the file says so."""


# What is expected.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedMessage:
    """A message that goes out. What is None is not asked."""

    to: str
    campaign: str
    at: datetime | None = None
    before: datetime | None = None
    """With it `at` is the earliest time."""
    channel: str | None = None
    template: str | None = None
    variant: str | None = None
    event: str | None = None
    digest: Mapping[str, Any] | None = None
    """Some of what its template sees of the digest."""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRefusal:
    """A message that does not go out, and the gate that sees to it."""

    campaign: str
    gate: str
    to: str | None = None
    at: datetime | None = None
    event: str | None = None
    detail: str | None = None
    """Words that its detail holds."""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedGoal:
    """A goal that a passage reaches. What is None is not asked."""

    goal: str
    campaign: str
    to: str | None = None
    """Whose passage it is."""
    at: datetime | None = None
    """When the event occurred that counts."""
    variant: str | None = None
    event: str | None = None
    value: float | None = None
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One story."""

    name: str
    begin: datetime
    until: datetime | None = None
    """None: until nothing is due any more."""
    zone: str = "UTC"
    """In which times are told."""
    workspace: Workspace = field(default_factory=Workspace)
    campaigns: Sequence[Launched] = ()
    caps: Sequence[FrequencyCap] = ()
    segments: Sequence[Segment] = ()
    traits: Sequence[Trait] = ()
    regions: Sequence[Any] = ()
    profiles: Sequence[Someone] = ()
    steps: Sequence[Step] = ()
    messages: Sequence[ExpectedMessage] = ()
    """All of them."""
    refusals: Sequence[ExpectedRefusal] = ()
    """Some of them."""
    goals: Sequence[ExpectedGoal] = ()
    """All of them, of the campaigns that are named here."""
    place: str = ""
