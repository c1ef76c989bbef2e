"""Compiled filters."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from services.trigger.model.events import Occurrence, Person


class Seen(NamedTuple):
    """What a predicate answers: yes, or no and why."""

    passed: bool
    detail: str


Predicate = Callable[[Occurrence, Person, Occurrence | None, datetime], Seen]
"""A compiled filter over an event, a profile, the trigger (for exceptions) and now."""
