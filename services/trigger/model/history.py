"""What people did in campaigns before, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.trigger.model.keys import Key
from services.trigger.model.passages import Enrollment


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which arm a person was given by hash: the first of hers counts."""

    key: Key
    member: str
    """The id she was given it under, when she goes by another."""
    variant: str
    split: str
    """Of `Variants.split`."""
    time: datetime


@dataclass(frozen=True, slots=True)
class Conversion:
    """A goal that a passage has reached."""

    key: Key
    event_uid: UUID
    """Of the event that began the passage."""
    goal: str
    time: datetime
    """When the event occurred that counts."""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class History:
    """What is known of people besides their open passages, as far as their campaigns ask."""

    passages: tuple[Enrollment, ...] = ()
    """That may reach a goal yet, ended or not."""
    entries: Mapping[tuple[Key, str], datetime] = field(default_factory=dict)
    """The latest entry for each value by which re-entry is asked apart."""
    assigned: Mapping[Key, str] = field(default_factory=dict)
    """Which arm was given first."""


@dataclass(slots=True)
class HistoryQuestion:
    """What a turn has to know of that."""

    goals: dict[Key, datetime] = field(default_factory=dict)
    """Since when an entry may reach a goal."""
    entries: set[tuple[Key, str]] = field(default_factory=set)
    assigned: set[Key] = field(default_factory=set)
