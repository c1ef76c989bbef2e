"""What holds of people and begins or ends: segments, and the conditions of campaigns."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import invalid_field
from mesh.expressions import (
    EventFacts,
    ExpressionFailed,
    compile_expression,
    make_context,
)
from services.trigger.convert.beginnings import CONDITION_ENTERED, CONDITION_EXITED, to_beginning
from services.trigger.convert.campaigns import facts_of
from services.trigger.convert.times import from_duration
from services.trigger.model import Person
from services.trigger.rules.beginnings import last_heard

_DURATION = re.compile(r"""duration\(\s*["']([0-9.]+)(ms|[smh])["']\s*\)""")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
# `<` holds only then where `<=` holds before.
_TICK = timedelta(microseconds=1)
# What segments may ask and expressions over one standing cannot.
_BEYOND = re.compile(r"\b(last_time|first_time|relations?|in_segment|devices?)\b")


@dataclass(frozen=True, slots=True)
class Watch:
    """Something that holds of people or does not; its beginning and end are events."""

    id: str
    property: str
    """Of its events, that holds the id."""
    begins: str
    """Type of event."""
    ends: str
    holds: Callable[[Person, datetime], bool]
    spans: tuple[timedelta, ...] = ()
    """After a time that is known of a person time alone may change it."""

    def moments(self, person: Person) -> Iterator[datetime]:
        """Yield when time alone may make it begin or end."""
        for time in _times_of(person) if self.spans else ():
            for span in self.spans:
                yield time + span
                yield time + span + _TICK


def watch_of_segment(segment_id: str, segment: Segment) -> Watch:
    """Return what is watched of a segment.

    Raises:
        InvalidArgument: Its filter is wrong, or asks what cannot be told here.
    """
    found = _BEYOND.search(segment.filter)
    if found is not None:
        raise invalid_field(
            "segment.filter",
            f"{found[0]} cannot be told in a scenario: leave the segment out, and say with"
            " `segments`, `enter` and `leave` who is in it",
            reason="scenario",
        )
    expression = compile_expression(segment.filter)

    def holds(person: Person, now: datetime) -> bool:
        context = make_context(event=EventFacts("", "", now, {}), profile=facts_of(person), now=now)
        try:
            return expression.matches(context)
        except ExpressionFailed:
            return False

    spans = tuple(
        float(number) * _UNITS[unit] for number, unit in _DURATION.findall(segment.filter)
    )
    return Watch(segment_id, "segment", "segment_entered", "segment_exited", holds, spans)


def watch_of_campaign(campaign_id: str, campaign: Campaign) -> Watch | None:
    """Return the condition that a campaign waits for, if it does."""
    beginning = to_beginning(campaign_id, campaign)
    if beginning is None or beginning.condition is None:
        return None
    trigger = campaign.trigger
    spans: tuple[timedelta, ...] = ()
    if trigger.WhichOneof("beginning") == "milestone":
        holds = _reached(trigger.milestone.trait, trigger.milestone.value)
    else:
        duration = from_duration(trigger.inactivity.duration)
        holds = _silent(duration, trigger.inactivity.event_type)
        spans = (duration,)
    return Watch(
        beginning.condition.id, "condition", CONDITION_ENTERED, CONDITION_EXITED, holds, spans
    )


def _reached(trait: str, value: float) -> Callable[[Person, datetime], bool]:
    return lambda person, _: person.traits.get(trait, float("-inf")) >= value


def _silent(duration: timedelta, event_type: str) -> Callable[[Person, datetime], bool]:
    def holds(person: Person, now: datetime) -> bool:
        last = last_heard(person, event_type)
        return last is not None and last <= now - duration

    return holds


def _times_of(person: Person) -> Iterable[datetime]:
    yield from person.last_times.values()
    for time in (person.first_seen_time, person.last_seen_time):
        if time is not None:
            yield time
    for value in person.attributes.values():
        if isinstance(value, str) and "T" in value:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                continue
            if moment.tzinfo is not None:
                yield moment
