"""What is left of people who were forgotten: a receipt, and a hash to know them again by."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from services.profile.model.people import PersonKey

PROFILE_ERASED = "profile_erased"
"""The event that tells the other services."""


class Removal(NamedTuple):
    """What one service has removed."""

    service: str
    counts: Mapping[str, int]
    """How many, by kind of thing."""
    remove_time: datetime


class Erasure(NamedTuple):
    """A receipt. Names nobody."""

    workspace: str
    erasure_id: UUID | None
    """None: nothing was removed, only counted."""
    create_time: datetime
    refuse_until: datetime
    complete_time: datetime | None
    refused_event_count: int
    reason: str
    removals: tuple[Removal, ...]


def hash_of(person: PersonKey) -> bytes:
    """Return by what an erased person is known again."""
    return sha256("/".join(person).encode()).digest()
