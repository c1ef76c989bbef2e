"""Events, and the people around them, as judging sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Trace:
    """Where an event's trace is to be continued."""

    trace_id: bytes
    parent_span_id: bytes | None
    sampled: bool


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event, as judging sees it."""

    uid: UUID
    event_id: str
    type: str
    workspace: str
    profile: str
    """Under which id the person goes who did it."""
    occur_time: datetime
    """By the corrected clock."""
    receive_time: datetime
    properties: Mapping[str, Any]
    properties_json: bytes
    """The same, as it came."""
    trace: Trace
    member: str = ""
    """The id that it came under, when that is another of the person's."""


@dataclass(frozen=True, slots=True)
class Person:
    """How a profile stands. Holds no address."""

    profile: str
    """The id that the person goes by."""
    attributes: Mapping[str, Any]
    counts: Mapping[str, int]
    """Events by type."""
    last_times: Mapping[str, datetime]
    """Latest occurrence by type."""
    time_zone: str
    locale: str
    first_seen_time: datetime | None
    last_seen_time: datetime | None
    attributes_json: bytes = b"{}"
    """The attributes, as they came."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Numbers by the trait's id."""
    traits_json: bytes = b"{}"
    """The same, as they came."""
    members: tuple[str, ...] = ()
    """All ids of the person when there are several."""
