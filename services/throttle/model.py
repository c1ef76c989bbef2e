"""Consent, caps, the places that sends take under them, and verdicts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias

Micros: TypeAlias = int
"""Microseconds since the epoch: whole, and exact in a Lua number until the year 2255."""

# What the schema of a cap allows; counters forget what is older than the longest.
LIMIT_MAX = 1000
ROLLING_MIN = timedelta(minutes=1)
ROLLING_MAX = timedelta(days=30)


class Channel(IntEnum):
    """A way to reach a profile. The numbers are stored, and those of the wire."""

    EMAIL = 1
    WEBHOOK = 2


# A webhook reaches a system of the workspace's own.
PERSONAL = frozenset(Channel) - {Channel.WEBHOOK}


class Consent(IntEnum):
    """What a person said about a channel. The numbers are stored, and those of the wire."""

    SUBSCRIBED = 1
    UNSUBSCRIBED = 2
    UNDECIDED = 3


class Calendar(StrEnum):
    """A window that begins with the recipient's own day or week."""

    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class Rolling:
    """The time just past."""

    span: timedelta

    def __post_init__(self) -> None:
        """Refuse spans that counters do not remember."""
        if not ROLLING_MIN <= self.span <= ROLLING_MAX:
            message = f"a rolling window is 1 minute to 30 days long, not {self.span}"
            raise ValueError(message)


Window: TypeAlias = Calendar | Rolling


class OnBreach(StrEnum):
    """What becomes of the send that is one too many."""

    SUPPRESS = "suppress"
    DEFER = "defer"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyCap:
    """At most so many sends to one profile in a window."""

    workspace: str
    cap_id: str
    channel: Channel | None
    """None: all channels that reach a person."""
    limit: int
    window: Window
    on_breach: OnBreach = OnBreach.SUPPRESS

    def __post_init__(self) -> None:
        """Refuse limits that counters cannot hold."""
        if not 1 <= self.limit <= LIMIT_MAX:
            message = f"a limit is 1 to {LIMIT_MAX}, not {self.limit}"
            raise ValueError(message)

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels whose sends it counts and limits."""
        return PERSONAL if self.channel is None else frozenset({self.channel})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCap:
    """A cap as it is kept."""

    cap: FrequencyCap
    version: int
    """Grows by one with every change."""
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one profile said about one channel, and when."""

    workspace: str
    profile_id: str
    channel: Channel
    consent: Consent
    update_time: datetime | None = None
    """None: never asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which ids are one person."""

    workspace: str
    profile_id: str
    member_ids: tuple[str, ...]
    version: int


class Send(NamedTuple):
    """One message that wants to go out.

    A tuple: a thousand come with a call, and a frozen dataclass costs four times as much.
    """

    send_id: bytes
    workspace: str
    profile_id: str
    channel: Channel
    critical: bool
    time_zone: str
    """As the caller gave it; unknown is UTC."""
    expire_us: Micros


class Asked(NamedTuple):
    """How full the caps are for somebody at a time."""

    workspace: str
    profile_id: str
    channel: Channel
    time_zone: str
    time_us: Micros


class Place(NamedTuple):
    """What a send takes under every cap that counts its channel."""

    send_id: bytes
    channel: Channel
    time_us: Micros
    """When it was reserved; kept when it is committed."""
    lease_us: Micros
    """Until when it counts without being committed."""
    committed: bool = False

    def counts(self, now_us: Micros) -> bool:
        """Say whether it takes room: it was sent, or may yet be."""
        return self.committed or self.lease_us > now_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one cap means for one send: fewer than `cap.limit` places from start to before end."""

    cap: FrequencyCap
    start_us: Micros
    end_us: Micros | None
    """None: no end. A rolling window also counts what a faster clock wrote."""


class Filling(NamedTuple):
    """One of the places that fill a limit."""

    send_id: bytes
    time_us: Micros
    committed: bool


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that is reached."""

    limit: Limit
    turn_us: Micros
    """Time of the oldest of the newest `limit` places: when it leaves there is room."""
    newest: tuple[Filling, ...]
    """Some of what fills it, newest first."""


class Outcome(StrEnum):
    """How a send ended."""

    COMMITTED = "committed"
    RELEASED = "released"


class Settlement(NamedTuple):
    """How one send ended."""

    send_id: bytes
    workspace: str
    profile_id: str
    outcome: Outcome


class Gate(StrEnum):
    """Which rule spoke."""

    CONSENT = "consent"
    FREQUENCY_CAP = "frequency_cap"


@dataclass(frozen=True, slots=True)
class Allow:
    """The send may go; its places are reserved."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not now."""

    until: datetime
    gate: Gate
    detail: str


@dataclass(frozen=True, slots=True)
class Suppress:
    """Never."""

    gate: Gate
    detail: str


Verdict: TypeAlias = Allow | Defer | Suppress
