"""Taking events into a state, and letting go of what is no longer asked for."""

from collections import defaultdict
from collections.abc import Mapping

from services.profile.model.people import Event
from services.profile.model.traits import (
    QUARTER_US,
    STREAKS,
    Aggregate,
    Buckets,
    Days,
    State,
    Trait,
)
from services.profile.rules.identifying import LATE_US
from services.profile.rules.traits.cells import DISTINCT_MAX, cell_of, join
from services.profile.rules.traits.streaks import add_day
from services.profile.rules.traits.windows import horizon, local_day, shortest


def take(
    trait: Trait,
    state: State | None,
    event: Event,
    properties: Mapping[str, object],
    *,
    time_zone: str,
) -> State | None:
    """Return the state with the event in it, changed in place; None: the event does not count.

    The order of events makes no difference. One that occurred more than 30 days
    before it was received changes nothing. A day is one of the zone of the moment
    and stays it.
    """
    if event.receive_us - event.occur_us > LATE_US:
        return None
    if trait.aggregate in STREAKS:
        days: Days = state if isinstance(state, list) else []
        add_day(days, local_day(event.occur_us, time_zone))
        return days
    cell = cell_of(trait, event, properties)
    if cell is None:
        return None
    buckets: Buckets = state if isinstance(state, dict) else {}
    quarter = 0 if trait.window is None else event.occur_us // QUARTER_US
    before = buckets.get(quarter)
    buckets[quarter] = cell if before is None else join(trait.aggregate, (before, cell))
    return buckets


def prune(trait: Trait, state: State, now_us: int) -> None:
    """Take out what no window will hold again, and different values that are too many."""
    if not isinstance(state, dict):
        return
    since = horizon(trait, now_us)
    for quarter in [quarter for quarter in state if quarter < since]:
        del state[quarter]
    if trait.aggregate is Aggregate.DISTINCT and _kept(state) > DISTINCT_MAX:
        _thin(trait, state)


def _kept(buckets: Buckets) -> int:
    return sum(len(values) for values in buckets.values() if isinstance(values, frozenset))


def _thin(trait: Trait, buckets: Buckets) -> None:
    """Keep of the values the thousand seen last, and of each only what some window could miss.

    Without a window before, what counts is when a value was seen last: the number
    stays exact. With one, sightings between two that are no window apart are seen
    by no window alone; only of more than a thousand values may the window before forget some.
    """
    apart = shortest(trait.window) if trait.window is not None and trait.compare else 0
    sightings: defaultdict[int, list[int]] = defaultdict(list)
    for quarter in sorted(buckets, reverse=True):
        values = buckets[quarter]
        for one in values if isinstance(values, frozenset) else ():
            seen = sightings[one]
            if len(seen) > 1 and seen[-2] - quarter <= apart:
                seen[-1] = quarter
            elif not seen or apart:
                seen.append(quarter)
    newest = sorted(sightings, key=lambda one: (-sightings[one][0], one))[:DISTINCT_MAX]
    by_quarter: defaultdict[int, set[int]] = defaultdict(set)
    for one in newest:
        for quarter in sightings[one]:
            by_quarter[quarter].add(one)
    buckets.clear()
    buckets.update({quarter: frozenset(values) for quarter, values in by_quarter.items()})
