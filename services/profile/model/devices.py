"""Devices that can be pushed to, and how they changed hands."""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple
from uuid import UUID

DEVICES_MAX = 50
"""Of one profile."""


class Platform(IntEnum):
    """Who carries the push; numbered as in the contract."""

    FCM = 1
    APNS = 2
    WEB_PUSH = 3


class DeviceState(IntEnum):
    """Whether a device is used; numbered as in the contract."""

    ACTIVE = 1
    STALE = 2
    """Never stored: it follows from the time."""
    RELEASED = 3
    RETIRED = 4


class TransferReason(StrEnum):
    """Why a device changed hands."""

    REGISTERED = "registered"
    RELEASED = "released"
    RETIRED = "retired"
    EXPIRED = "expired"
    DISPLACED = "displaced"
    """To make room for another."""


class Registration(NamedTuple):
    """What an app says at login and at every start."""

    device_id: UUID
    platform: Platform
    token: str
    """In its one spelling."""
    app: str
    locale: str


class Device(NamedTuple):
    """A device as it was registered for one id."""

    device_id: UUID
    member_id: str
    """The id it was registered for."""
    platform: Platform
    state: DeviceState
    seen_us: int
    token: str
    """Empty: no longer used by this id."""
    app: str
    locale: str
    reason: str
    create_time: datetime
    end_time: datetime | None

    @property
    def is_used(self) -> bool:
        """Whether it is the id's own now, stale or not."""
        return self.state == DeviceState.ACTIVE


class DeviceTransfer(NamedTuple):
    """A change of hands, as one of the two people sees it."""

    transfer_id: int
    """Greater for what came later."""
    device_id: UUID
    from_id: str
    """Under its name of today; empty: nobody."""
    to_id: str
    reason: str
    transfer_time: datetime


class DeviceReport(NamedTuple):
    """What a provider says of a device that it does not know any more."""

    workspace: str
    device_id: UUID
    report_us: int
    reason: str


class Reach(NamedTuple):
    """Whether a channel leads to a person."""

    channel: str
    """`email`, `push` or `sms`."""
    reason: str = ""
    """Why it does not; empty: it does."""
