"""Decisions of profile: what an event changes, what is a repeat, what an update may write."""

from services.profile.rules.attributes import Types
from services.profile.rules.facts import (
    ATTRIBUTE_BYTES_MAX,
    ATTRIBUTE_KEYS_MAX,
    patch,
    replace,
    revise,
)
from services.profile.rules.identifying import LATE_US
from services.profile.rules.identity import COUNTER_TYPES_MAX
from services.profile.rules.objects import NotAnObject, join, split
from services.profile.rules.observing import observe
from services.profile.rules.recognising import sort_out

__all__ = [
    "ATTRIBUTE_BYTES_MAX",
    "ATTRIBUTE_KEYS_MAX",
    "COUNTER_TYPES_MAX",
    "LATE_US",
    "NotAnObject",
    "Types",
    "join",
    "observe",
    "patch",
    "replace",
    "revise",
    "sort_out",
    "split",
]
