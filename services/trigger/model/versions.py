"""What campaigns were, and what becomes of people when they change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.trigger.model.plans import Plan


class InFlight(Enum):
    """What becomes of those on their way when a campaign changes."""

    MIGRATE = "migrate"
    """They go on by the new content."""
    FINISH = "finish"
    """They go on by the content they go by."""
    EXIT = "exit"
    """They leave."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a campaign was, as far as somebody may still go by it."""

    migrate_version: int = 1
    """The latest to which all went over who were on their way."""
    exit_version: int = 0
    """The latest that sent all out who were on their way."""
    plans: Mapping[int, "Plan"] = field(default_factory=dict)
    """Earlier ones by version; their state is that of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version of a campaign as it is kept."""

    workspace: str
    campaign: str
    version: int
    spec: bytes
    create_time: datetime
    in_flight: InFlight
    caller: str


@dataclass(frozen=True, slots=True)
class Move:
    """That a campaign came into a state."""

    time: datetime
    state: str
    caller: str


@dataclass(frozen=True, slots=True)
class Crowd:
    """Passages of a campaign that wait, or are sent, by the version they were judged by last."""

    version: int
    waiting_count: int
    sending_count: int
    next_due_time: datetime | None
