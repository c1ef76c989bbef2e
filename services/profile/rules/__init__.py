"""Decisions of profile: what an event changes, what is a repeat, what an update may write."""

from services.profile.rules.facts import (
    ATTRIBUTE_BYTES_MAX,
    ATTRIBUTE_KEYS_MAX,
    check_facts,
    revise,
)
from services.profile.rules.objects import NotAnObject, join, split
from services.profile.rules.observing import COUNTER_TYPES_MAX, LATE_US, observe
from services.profile.rules.recognising import sort_out

__all__ = [
    "ATTRIBUTE_BYTES_MAX",
    "ATTRIBUTE_KEYS_MAX",
    "COUNTER_TYPES_MAX",
    "LATE_US",
    "NotAnObject",
    "check_facts",
    "join",
    "observe",
    "revise",
    "sort_out",
    "split",
]
