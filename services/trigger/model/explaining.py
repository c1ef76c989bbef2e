"""What is to be known where somebody asks why she got a message, or did not."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.trigger.model.versions import Move


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of hers that may begin the campaign."""

    event_id: str
    type: str
    occur_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """All that was looked at because nothing is on record."""

    campaign: str
    profile: str
    now: datetime
    retention: timedelta
    """How long decisions are kept."""
    event_id: str = ""
    """That was asked about; '' for any."""
    moment: datetime | None = None
    """About which was asked, or at which the event occurred."""
    create_time: datetime | None = None
    """None: there is no such campaign."""
    moves: tuple[Move, ...] = ()
    begins_with: str = ""
    """The type of event that began it then; '' for none of the log."""
    of_others: bool = False
    """Whether it is an event of somebody else that names her."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    heard: tuple[Heard, ...] = ()
    """What was heard of her of that type, in order."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a delivery."""

    state: str
    """As `sent`; '' when delivery knows it no more."""
    error: str = ""
    send_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class CapUse:
    """How full a frequency cap was."""

    name: str
    limit: int
    send_ids: tuple[bytes, ...]
    """What was counted, newest first."""
