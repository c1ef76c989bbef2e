"""Makes sure that traits say what counting all events anew would say, at every moment.

The reference keeps every event and knows no buckets, no rows of days and no pruning; its
days are those of the standard library.
"""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from services.profile.convert.traits import decode_state, encode_state
from services.profile.model.people import DAY_US, Event
from services.profile.model.traits import (
    QUARTER_US,
    STREAKS,
    Aggregate,
    Calendar,
    Number,
    Rolling,
    State,
    Trait,
    Value,
    Window,
)
from services.profile.rules.traits import due, prune, take, value
from tests.unit.profile.builders import an_event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_US = 60_000_000
LATE_US = 30 * DAY_US
ZONES = [
    "UTC",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "Australia/Lord_Howe",
    "America/Havana",
    "America/Santiago",
    "Europe/Berlin",
    "America/New_York",
]
# Around nights on which clocks change, ends of months and of the year.
MOMENTS = [
    datetime(2026, 3, 1, 0, 7, tzinfo=UTC),
    datetime(2026, 3, 8, 7, 30, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2026, 4, 5, 3, 14, tzinfo=UTC),
    datetime(2026, 9, 6, 4, 0, tzinfo=UTC),
    datetime(2026, 11, 1, 5, 59, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
]
HISTORY_MINUTES = 75 * 1440


class Happened(NamedTuple):
    """An event before it has a form: whose, how long ago, how late it came, with what."""

    member: int
    minutes_ago: int
    minutes_late: int
    content: object


happenings = st.builds(
    Happened,
    st.integers(0, 2),
    # Ahead of the clock too, as far as the door lets it.
    st.one_of(
        st.integers(-1440, HISTORY_MINUTES),
        st.integers(-1, 62).map(lambda days: days * 1440),
        st.integers(0, 8).map(lambda quarters: quarters * 15),
    ),
    st.one_of(st.just(0), st.integers(0, 31 * 1440)),
    st.sampled_from([0, 1, 1.0, -2.5, 0.1, 0.2, 19.99, 1e-12, 10**17, "text", None, True, [1]]),
)


@st.composite
def traits(draw: st.DrawFn) -> Trait:
    aggregate = draw(st.sampled_from(Aggregate))
    windows: list[Window | None] = [None]
    if aggregate not in STREAKS:
        windows += [*Calendar, Rolling(DAY_US // 24), Rolling(DAY_US), Rolling(31 * DAY_US)]
    window = draw(st.sampled_from(windows))
    return Trait(
        workspace="acme",
        trait_id="trait",
        event_type="order_placed",
        aggregate=aggregate,
        property="" if aggregate in STREAKS or aggregate is Aggregate.COUNT else "value",
        window=window,
        compare=window is not None and draw(st.booleans()),
    )


@example(
    trait=Trait(
        workspace="acme",
        trait_id="trait",
        event_type="order_placed",
        aggregate=Aggregate.COUNT,
        window=Calendar.MONTH,
        compare=True,
    ),
    happened=[Happened(0, 0, 0, 1), Happened(1, 59 * 1440, 0, 1)],
    now=MOMENTS[2],
    zone="Europe/Berlin",
)
@given(
    trait=traits(),
    happened=st.lists(happenings, max_size=12),
    now=st.sampled_from(MOMENTS),
    zone=st.sampled_from(ZONES),
)
def test_a_value_is_what_counting_anew_says(
    trait: Trait, happened: list[Happened], now: datetime, zone: str
) -> None:
    events = [made(one, now, number) for number, one in enumerate(happened)]
    states = taken(trait, events, zone)
    at_us = micros(now)

    found = value(trait, states, zone, at_us)

    assert found == reference(trait, events, zone, at_us)
    # Until it is due time does not change it, whoever asks.
    upcoming = due(trait, states, zone, at_us)
    assert upcoming is None or upcoming > at_us
    until_us = at_us + 70 * DAY_US if upcoming is None else upcoming - 1
    for moment in (at_us, (at_us + until_us) // 2, until_us):
        assert reference(trait, events, zone, moment) == found
    if upcoming is not None:
        later = value(trait, states, zone, upcoming)
        assert later == reference(trait, events, zone, upcoming)


@given(
    trait=traits(),
    happened=st.lists(happenings, max_size=8),
    now=st.sampled_from(MOMENTS),
    zone=st.sampled_from(ZONES),
    data=st.data(),
)
def test_order_makes_no_difference(
    trait: Trait, happened: list[Happened], now: datetime, zone: str, data: st.DataObject
) -> None:
    events = [made(one, now, number) for number, one in enumerate(happened)]
    shuffled = data.draw(st.permutations(events))
    at_us = micros(now)

    one, other = taken(trait, events, zone), taken(trait, shuffled, zone)

    assert value(trait, one, zone, at_us) == value(trait, other, zone, at_us)
    assert value(trait, one[::-1], zone, at_us) == value(trait, one, zone, at_us)


def taken(trait: Trait, events: Sequence[Event], zone: str) -> list[State]:
    """Take events into the state of each id, kept in between as the database keeps it."""
    states: dict[str, State] = {}
    for event in events:
        before = states.get(event.profile_id)
        known = None if before is None else decode_state(trait, encode_state(before))
        after = take(trait, known, event, json.loads(event.properties), time_zone=zone)
        if after is not None:
            prune(trait, after, event.receive_us)
            states[event.profile_id] = after
    return list(states.values())


def made(one: Happened, now: datetime, number: int) -> Event:
    occur_us = micros(now) - one.minutes_ago * MINUTE_US
    received = min(occur_us + one.minutes_late * MINUTE_US, micros(now))
    properties = {} if one.content is None else {"value": one.content}
    return an_event(
        str(number),
        person=f"p{one.member}",
        occur_us=occur_us,
        receive_us=received,
        properties=json.dumps(properties),
    )


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


# The reference.


def reference(trait: Trait, events: Sequence[Event], zone: str, now_us: int) -> Value:
    counted = [event for event in events if counts(trait, event)]
    if not counted:
        return Value(None)
    if trait.aggregate in STREAKS:
        return Value(streak(trait, {day(event.occur_us, zone) for event in counted}, zone, now_us))
    if trait.window is None:
        return Value(number(trait.aggregate, counted))
    current = [event for event in counted if window_of(trait, event, zone, now_us) == 0]
    before = [event for event in counted if window_of(trait, event, zone, now_us) == 1]
    if not trait.compare:
        return Value(number(trait.aggregate, current))
    return Value(number(trait.aggregate, current), number(trait.aggregate, before))


def counts(trait: Trait, event: Event) -> bool:
    if event.receive_us - event.occur_us > LATE_US:
        return False
    content = json.loads(event.properties).get("value")
    if not trait.property or (trait.aggregate is Aggregate.DISTINCT and content is not None):
        return True
    return isinstance(content, int | float) and not isinstance(content, bool)


def window_of(trait: Trait, event: Event, zone: str, now_us: int) -> int:
    """Return in which window the event is: 0 this one, 1 the one before."""
    if isinstance(trait.window, Rolling):
        ends = (event.occur_us // QUARTER_US + 1) * QUARTER_US
        return max(0, (now_us - ends) // trait.window.span_us)
    period = _period(trait.window, day(event.occur_us, zone))
    this = _period(trait.window, day(now_us, zone))
    if period >= this:
        return 0
    return 1 if period == _period(trait.window, this - timedelta(days=1)) else 2


def _period(window: Window | None, local: date) -> date:
    match window:
        case Calendar.WEEK:
            return local - timedelta(days=local.weekday())
        case Calendar.MONTH:
            return local.replace(day=1)
        case _:
            return local


def day(time_us: int, zone: str) -> date:
    return (EPOCH + timedelta(microseconds=time_us)).astimezone(ZoneInfo(zone)).date()


def number(aggregate: Aggregate, events: Sequence[Event]) -> Number | None:
    contents = [json.loads(event.properties).get("value") for event in events]
    if aggregate is Aggregate.COUNT:
        return len(events)
    if aggregate is Aggregate.DISTINCT:
        kinds = {(type(one) is bool, json.dumps(one).removesuffix(".0")) for one in contents}
        return len(kinds)
    if aggregate is Aggregate.SUM:
        return sum(map(decimal, contents), Decimal(0))
    if not contents:
        return None
    if aggregate is Aggregate.LAST:
        latest = max(events, key=lambda event: (event.occur_us, event.event_uid.bytes))
        return decimal(json.loads(latest.properties)["value"])
    return (min if aggregate is Aggregate.MIN else max)(map(decimal, contents))


def decimal(content: object) -> Decimal:
    return round(Decimal(str(content)), 9)


def streak(trait: Trait, days: set[date], zone: str, now_us: int) -> int:
    lengths = {}
    for last in days:
        length, each = 0, last
        while each in days:
            length, each = length + 1, each - timedelta(days=1)
        lengths[last] = length
    if trait.aggregate is Aggregate.LONGEST_STREAK:
        return max(lengths.values())
    latest = max(days)
    return lengths[latest] if latest >= day(now_us, zone) - timedelta(days=1) else 0
