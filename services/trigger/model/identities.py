"""What the log tells of who is who, and what others are to hear of it."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID


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
