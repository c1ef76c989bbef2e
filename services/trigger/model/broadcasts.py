"""One message to many."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from services.trigger.model.events import Occurrence


class BroadcastState(IntEnum):
    """How far it is; numbered as on the wire."""

    PLANNED = 1
    RUNNING = 2
    DONE = 3
    CANCELED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One time that a schedule goes out, or an event that is told to all who are related."""

    id: UUID
    campaign: str
    state: BroadcastState
    planned: bool
    """Of a schedule, not of an event."""
    event: Occurrence
    """That everybody's passage begins with."""
    start_time: datetime
    end_time: datetime | None = None
    audience: bytes = b""
    """What profile is asked; empty until it has begun."""
    cursor: str = ""
    counted: bool = False
    """All of the audience was gone through."""
    error: str = ""
    account: bytes | None = None
    """What it came to, once it has ended."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Where those are whom a broadcast has come to, as far as trigger knows."""

    audience: int = 0
    suppressed: Mapping[str, int] = field(default_factory=dict)
    """By the gate that refused or stopped it."""
    open: int = 0
    """Wait, or are on their way to delivery."""
