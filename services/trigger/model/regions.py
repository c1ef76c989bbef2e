"""Places, and who is in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRegion:
    """A region as it is kept."""

    workspace: str
    region: str
    """Its id."""
    number: int
    """What it is known by to who is inside; unlike the id it is never used again."""
    spec: bytes
    """A serialized Region; what the other fields say is not in it."""
    revision: int
    create_time: datetime
    update_time: datetime


RegionsAt = Callable[[float, float], frozenset[int]]
"""Which regions, by their numbers, a latitude and a longitude are in; geometry, no I/O."""


@dataclass(frozen=True, slots=True)
class Places:
    """The regions of a workspace that campaigns in force name."""

    names: Mapping[int, str]
    """Number → id."""
    at: RegionsAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Where somebody was by her latest report."""

    workspace: str
    profile: str
    report_time: datetime
    inside: Mapping[int, datetime]
    """Number of a region → when she was first reported in it."""
    member: str = ""
    """The id under which the report came, when the person goes by another."""
    revision: int = 0
    """Counts its changes in the store; 0: not stored yet."""
