"""What a trait says of a person at one moment, and until when."""

from collections.abc import Sequence

from services.profile.model.traits import (
    QUARTER_US,
    Aggregate,
    Cell,
    Days,
    Rolling,
    State,
    Trait,
    Value,
)
from services.profile.rules.traits import cells
from services.profile.rules.traits.streaks import current, longest, unite
from services.profile.rules.traits.windows import Span, day_start_us, local_day, span


def value(trait: Trait, states: Sequence[State], time_zone: str, now_us: int) -> Value:
    """Return what the trait says, of the states of all ids of a person, in any order.

    Without a state nothing. Once something has counted, a count, a sum and a
    number of different values are 0 where a window is empty; of a least, greatest
    or latest there is then none.
    """
    if not states:
        return Value(None)
    if trait.aggregate is Aggregate.STREAK:
        return Value(current(_days(states), local_day(now_us, time_zone)))
    if trait.aggregate is Aggregate.LONGEST_STREAK:
        return Value(longest(_days(states)))
    if trait.window is None:
        return Value(cells.number(trait.aggregate, _cells(states, 0, None)))
    at = span(trait.window, time_zone, now_us)
    number = cells.number(trait.aggregate, _cells(states, at.current, None))
    if not trait.compare:
        return Value(number)
    return Value(number, cells.number(trait.aggregate, _cells(states, at.previous, at.current)))


def due(trait: Trait, states: Sequence[State], time_zone: str, now_us: int) -> int | None:
    """Return when, after now, time alone may change the value; None: never."""
    found = _due(trait, states, time_zone, now_us)
    # A clock set back over midnight shows yesterday's date after today began.
    return None if found is None else max(found, (now_us // QUARTER_US + 1) * QUARTER_US)


def _due(trait: Trait, states: Sequence[State], time_zone: str, now_us: int) -> int | None:
    if trait.aggregate is Aggregate.STREAK:
        days = _days(states)
        if not current(days, local_day(now_us, time_zone)):
            return None
        return day_start_us(days[-1][1] + 2, time_zone)
    if trait.window is None or trait.aggregate is Aggregate.LONGEST_STREAK:
        return None
    at = span(trait.window, time_zone, now_us)
    since = at.previous if trait.compare else at.current
    quarters = [q for state in states if isinstance(state, dict) for q in state if q >= since]
    if not quarters:
        return None
    if isinstance(trait.window, Rolling):
        return _leaves_us(trait.window, at, quarters)
    return at.turn_us


def _leaves_us(window: Rolling, at: Span, quarters: Sequence[int]) -> int:
    """Return when the next quarter leaves this window, or the window before."""
    return min(
        (quarter + 1) * QUARTER_US + window.span_us * (1 if quarter >= at.current else 2)
        for quarter in quarters
    )


def _cells(states: Sequence[State], since: int, until: int | None) -> list[Cell]:
    return [
        cell
        for state in states
        if isinstance(state, dict)
        for quarter, cell in state.items()
        if quarter >= since and (until is None or quarter < until)
    ]


def _days(states: Sequence[State]) -> Days:
    return unite(state for state in states if isinstance(state, list))
