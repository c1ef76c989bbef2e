"""What profile knows: people, their events, and what was made of those."""

from services.profile.model.changes import DerivedEvent, Touched
from services.profile.model.people import (
    DAY_US,
    NOBODY,
    PROFILE_UPDATED,
    WEEK_US,
    Counter,
    Earlier,
    Event,
    Facts,
    HistoryEntry,
    Observation,
    PersonKey,
    Profile,
    Refusal,
    Refused,
    Reused,
    Sorting,
)

__all__ = [
    "DAY_US",
    "NOBODY",
    "PROFILE_UPDATED",
    "WEEK_US",
    "Counter",
    "DerivedEvent",
    "Earlier",
    "Event",
    "Facts",
    "HistoryEntry",
    "Observation",
    "PersonKey",
    "Profile",
    "Refusal",
    "Refused",
    "Reused",
    "Sorting",
    "Touched",
]
