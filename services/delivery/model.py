"""What delivery works with: deliveries, outcomes, verdicts, templates. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias
from uuid import UUID


class Channel(IntEnum):
    """A way to reach a profile; the numbers are the wire's and the table's."""

    EMAIL = 1
    WEBHOOK = 2


class State(IntEnum):
    """Where a delivery is; the numbers are the wire's and the table's."""

    PENDING = 1
    SENDING = 2
    SENT = 3
    FAILED = 4
    UNKNOWN = 5
    CANCELED = 6
    EXPIRED = 7


class Outcome(StrEnum):
    """What came of one try at a provider."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """It will never be accepted."""
    TRY_LATER = "try_later"
    """It was not taken, and might be later."""
    NO_ANSWER = "no_answer"
    """It was handed over, and nobody said whether it was taken."""


class Answer(NamedTuple):
    """A provider's answer to one message."""

    outcome: Outcome
    detail: str = ""
    """A code or a fixed word, never the provider's own text: it may quote the address."""
    provider_message_id: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try."""

    attempts_max: int = 12
    first_delay: timedelta = timedelta(seconds=5)
    longest_delay: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        """Refuse what would give up early or never wait."""
        if self.attempts_max < ATTEMPTS_LEAST:
            message = f"at least {ATTEMPTS_LEAST} attempts"
            raise ValueError(message)
        if not timedelta(0) < self.first_delay <= self.longest_delay:
            message = "delays must be positive, the first at most the longest"
            raise ValueError(message)


# A provider that restarts is away for longer than fewer tries would last.
ATTEMPTS_LEAST = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider has it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again then."""

    time: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It is a dead letter now, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell whether it went out, and a repeat might be a second message."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Its time ran out."""


Verdict: TypeAlias = Sent | RetryAt | GiveUp | Unknown | Expired


class NewDelivery(NamedTuple):
    """A delivery to be queued."""

    delivery_id: UUID
    workspace: str
    profile: str
    campaign: str
    template: str
    channel: int
    expire_time: datetime
    trace_id: bytes | None
    parent_span_id: bytes | None
    sampled: bool
    data: bytes
    broadcast: UUID | None = None


class Claimed(NamedTuple):
    """A delivery in this worker's hands until `lease_end`. A tuple: one is made per message."""

    delivery_id: UUID
    workspace: str
    profile: str
    campaign: str
    template: str
    channel: int
    fence: int
    attempt_count: int
    """Tries that were settled before."""
    lease_end: datetime
    create_time: datetime
    expire_time: datetime
    trace_id: bytes | None
    parent_span_id: bytes | None
    sampled: bool
    data: bytes


class Settled(NamedTuple):
    """What a delivery becomes."""

    delivery: Claimed
    state: State
    due_time: datetime | None
    tried: bool
    """Whether a provider was tried: what did not get so far costs no attempt."""
    error: str = ""
    provider_message_id: str = ""


class Delivery(NamedTuple):
    """A delivery as it is shown."""

    delivery_id: UUID
    workspace: str
    profile: str
    campaign: str
    template: str
    channel: int
    state: State
    attempt_count: int
    error: str
    provider_message_id: str
    create_time: datetime
    due_time: datetime | None
    send_time: datetime | None
    expire_time: datetime
    trace_id: bytes | None


class Peer(IntEnum):
    """Who hears of ends."""

    THROTTLE = 1
    INGEST = 2


class Ending(NamedTuple):
    """That a delivery ended, for throttle and ingest."""

    delivery_id: UUID
    round: int
    state: State
    channel: int
    workspace: str
    profile: str
    campaign: str
    time: datetime


class News(NamedTuple):
    """A batch of endings that one peer has yet to hear."""

    outbox_id: int
    peer: Peer
    endings: list[Ending]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The texts of a template, each Jinja2."""

    sender: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    url: str = ""
    body: str = ""
    defaults_json: bytes = b"{}"
    """Path to the value that stands in where data is missing or null."""


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A template as it is kept."""

    workspace: str
    template: str
    content: bytes
    etag: str
    update_time: datetime


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of the allow-list for webhooks."""

    host: str
    """A host, `*.suffix`, or `*` for every public host."""
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""


DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
