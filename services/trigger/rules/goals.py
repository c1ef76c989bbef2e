"""Which goals does an event reach?"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from services.trigger.model import Conversion, Enrollment, Occurrence, Person, Plan


def judge_goals(
    plan: Plan, event: Occurrence, person: Person, passages: Iterable[Enrollment], *, now: datetime
) -> Iterator[Conversion]:
    """Yield the goals that an event of the recipient reaches for her passages, ended ones too.

    Whether she got the message, did not or was held out does not matter, nor in which order the
    log had them. An event does not reach a goal of the passage that it began.

    Args:
        plan: the campaign.
        event: of a type that one of its goals names.
        person: who did it.
        passages: hers through the campaign.
        now: when it is judged.
    """
    for passage in latest(passages):
        for goal in plan.goals:
            if goal.event_type != event.type or passage.event.uid == event.uid:
                continue
            if not passage.entry_time <= event.occur_time <= passage.entry_time + goal.window:
                continue
            if goal.filter is None or goal.filter(event, person, passage.event, now).passed:
                value = _number(event.properties.get(goal.value_property))
                yield Conversion(passage.key, passage.event.uid, goal.id, event.occur_time, value)


def reached_before(plan: Plan, passage: Enrollment, person: Person) -> Iterator[Conversion]:
    """Yield the goals that a passage had reached, by the time of its entry, when it began.

    Of an event that came before the one that began the passage, though it occurred after it, only
    its type and time are known, and only the latest of its type: it reaches a goal without a
    filter and a value.
    """
    for goal in plan.goals:
        if goal.filter is not None or goal.value_property:
            continue
        last = person.last_times.get(goal.event_type)
        if last is not None and passage.entry_time < last <= passage.entry_time + goal.window:
            yield Conversion(passage.key, passage.event.uid, goal.id, last)


def latest(passages: Iterable[Enrollment]) -> list[Enrollment]:
    """Return the passages without those that were restarted: one for each entry, its latest."""
    by_entry: dict[datetime, Enrollment] = {}
    for passage in passages:
        other = by_entry.get(passage.entry_time)
        if other is None or passage.event.occur_time >= other.event.occur_time:
            by_entry[passage.entry_time] = passage
    return list(by_entry.values())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
