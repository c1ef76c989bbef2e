"""Passages of people through campaigns, and what did not become one."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from services.trigger.model.events import Occurrence
from services.trigger.model.keys import Key


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
    variant: str = ""
    """Which was assigned, for ever; empty: the campaign has none."""
    reentry_key: str = ""
    """Value of the property by which re-entry is asked apart."""
    digest_key: str | None = None
    """Of the window whose passage it is; None: it gathers nothing."""
    broadcast: UUID | None = None
    """To which it belongs."""
    time_zone: str = ""
    """By which its local times were reckoned."""
    slot_time: datetime | None = None
    """When the campaign's rate lets it go. None: not asked yet, or there is no rate."""

    dwelling: bool = False
    """Whether it waits for her to have been in a region long enough, or ended as she left before:
    then she never entered, as far as re-entry is concerned."""

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
    broadcast: UUID | None = None
    """As of an enrollment."""
