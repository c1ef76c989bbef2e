"""What must hold of an event, besides its type, for a campaign to begin with it."""

# ruff: noqa: ARG001 — every predicate is asked alike, and few look at everything

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.trigger.model import Occurrence, Person, Predicate, Seen

_PASSED = Seen(passed=True, detail="true")


class Anything:
    """Stands for any value, or none."""


ANYTHING = Anything()


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """Return what holds when both do; the second is only asked when the first holds."""
    if first is None or second is None:
        return first or second
    one, other = first, second

    def ask(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        seen = one(event, person, trigger, now)
        return other(event, person, trigger, now) if seen.passed else seen

    return ask


def changed(from_: object, to: object) -> Predicate | None:
    """Return whether an attribute changed from one value to another; None stands for not set."""
    if from_ is ANYTHING and to is ANYTHING:
        return None

    def ask(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        for name, wanted in (("from", from_), ("to", to)):
            value = event.properties.get(name)
            if wanted is not ANYTHING and not same(value, wanted):
                return Seen(passed=False, detail=f"it changed {name} {_text(value)}")
        return _PASSED

    return ask


def silent(duration: timedelta, event_type: str) -> Predicate:
    """Return whether nothing was heard of the person for so long when the event says so.

    Asked again at the message's time, it says whether she is back.
    """

    def ask(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        last = last_heard(person, event_type)
        if last is not None and last > event.occur_time - duration:
            return Seen(passed=False, detail=f"she is back: {_what(event_type)} at {_moment(last)}")
        return _PASSED

    return ask


def back(lateness: timedelta, event_type: str) -> Predicate:
    """Return whether the person is heard again now, and not merely late of long ago."""

    def ask(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        last = last_heard(person, event_type)
        if last is None or last < event.occur_time - lateness:
            seen = "never" if last is None else f"last at {_moment(last)}"
            return Seen(passed=False, detail=f"she is not back: {_what(event_type)} {seen}")
        return _PASSED

    return ask


def last_heard(person: Person, event_type: str) -> datetime | None:
    """Return when something was heard of the person last, or something of one type."""
    return person.last_times.get(event_type) if event_type else person.last_seen_time


def answered(within: timedelta) -> Predicate:
    """Return whether a receipt is of the message whose sending is the trigger, and in time."""

    def ask(event: Occurrence, person: Person, trigger: Occurrence | None, now: datetime) -> Seen:
        if trigger is None or event.properties.get("delivery") != trigger.properties.get(
            "delivery"
        ):
            return Seen(passed=False, detail="it is of another message")
        in_time = event.occur_time < trigger.occur_time + within
        return _PASSED if in_time else Seen(passed=False, detail="it came after that time")

    return ask


def same(one: object, other: object) -> bool:
    """Return whether two values of JSON are the same: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _what(event_type: str) -> str:
    return event_type or "seen"


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: Any) -> str:
    return "nothing" if value is None else repr(value)
