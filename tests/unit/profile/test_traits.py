"""Makes sure that traits say the right number: each aggregate, window and zone by examples."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.profile.model.people import DAY_US, Event
from services.profile.model.traits import (
    Aggregate,
    Calendar,
    Number,
    Rolling,
    State,
    Trait,
    Value,
)
from services.profile.rules.traits import due, known_zone, number_of, prune, take, value
from tests.unit.profile.builders import an_event

HOUR_US = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def a_trait(
    aggregate: Aggregate = Aggregate.COUNT,
    *,
    window: Rolling | Calendar | None = None,
    compare: bool = False,
) -> Trait:
    return Trait(
        workspace="acme",
        trait_id="orders",
        event_type="order_placed",
        aggregate=aggregate,
        property="value",
        window=window,
        compare=compare,
    )


def happened(at: str, content: object = 1, *, received: str | None = None) -> Event:
    properties = {} if content is None else {"value": content}
    return an_event(
        f"{at}/{content}",
        occur_us=us(at),
        receive_us=us(received or at),
        properties=json.dumps(properties),
    )


def told(
    trait: Trait, events: Sequence[Event], *, at: str, zone: str = "UTC", pruned: bool = True
) -> Value:
    return value(trait, states(trait, events, at=at, zone=zone, pruned=pruned), zone, us(at))


def states(
    trait: Trait, events: Sequence[Event], *, at: str, zone: str = "UTC", pruned: bool = True
) -> list[State]:
    state: State | None = None
    for event in events:
        taken = take(trait, state, event, json.loads(event.properties), time_zone=zone)
        state = state if taken is None else taken
    if state is None:
        return []
    if pruned:
        prune(trait, state, us(at))
    return [state]


NOON = "2026-03-10T12:00:00Z"
THREE = [
    happened("2026-03-01T09:00:00Z", 10),
    happened("2026-03-02T09:00:00Z", 2.5),
    happened("2026-03-03T09:00:00Z", 10.0),
]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (Aggregate.COUNT, 3),
        (Aggregate.SUM, Decimal("22.5")),
        (Aggregate.MIN, Decimal("2.5")),
        (Aggregate.MAX, 10),
        (Aggregate.LAST, 10),
        (Aggregate.DISTINCT, 2),
        (Aggregate.STREAK, 0),
        (Aggregate.LONGEST_STREAK, 3),
    ],
)
def test_each_aggregate_of_all_time(aggregate: Aggregate, expected: Number) -> None:
    assert told(a_trait(aggregate), THREE, at=NOON) == Value(expected)


@pytest.mark.parametrize("aggregate", Aggregate)
def test_nothing_is_said_of_who_has_no_event(aggregate: Aggregate) -> None:
    assert told(a_trait(aggregate), [], at=NOON) == Value(None)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (Aggregate.COUNT, 0),
        (Aggregate.SUM, 0),
        (Aggregate.DISTINCT, 0),
        (Aggregate.MIN, None),
        (Aggregate.MAX, None),
        (Aggregate.LAST, None),
    ],
)
def test_a_window_that_ran_empty(aggregate: Aggregate, expected: Number | None) -> None:
    trait = a_trait(aggregate, window=Rolling(DAY_US))

    assert told(trait, THREE, at=NOON) == Value(expected)


def test_tenths_add_up() -> None:
    tenths = [happened(f"2026-03-01T09:0{minute}:00Z", 0.1) for minute in range(3)]

    assert told(a_trait(Aggregate.SUM), tenths, at=NOON) == Value(Decimal("0.3"))


@pytest.mark.parametrize(
    "content", [None, "12", True, [1], {"a": 1}, 10**19, float("inf"), float("nan")]
)
def test_what_is_no_number_does_not_count(content: object) -> None:
    assert number_of(content) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [(3, "3"), (-0.0, "0"), (1e18, "1000000000000000000"), (0.12345678949, "0.123456789")],
)
def test_numbers_have_nine_places(content: float, expected: str) -> None:
    assert f"{number_of(content):f}" == expected


def test_the_latest_is_latest_by_when_it_occurred() -> None:
    events = [happened("2026-03-02T09:00:00Z", 2), happened("2026-03-01T09:00:00Z", 1)]

    assert told(a_trait(Aggregate.LAST), events, at=NOON) == Value(Decimal(2))


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([1, 1.0, "1"], 2),
        ([True, 1], 2),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], 1),
        ([2**60, float(2**60)], 1),
        ([None], None),
    ],
)
def test_values_are_one_when_they_are_one_as_json(
    contents: list[object], expected: int | None
) -> None:
    events = [happened(f"2026-03-01T09:0{i}:00Z", each) for i, each in enumerate(contents)]

    assert told(a_trait(Aggregate.DISTINCT), events, at=NOON) == Value(expected)


@pytest.mark.parametrize("window", [None, Rolling(DAY_US), Calendar.DAY])
def test_beyond_a_thousand_different_values_there_are_a_thousand(
    window: Rolling | Calendar | None,
) -> None:
    trait = a_trait(Aggregate.DISTINCT, window=window)
    events = [happened("2026-03-10T09:00:00Z", each) for each in range(1100)]

    (state,) = states(trait, events, at=NOON)

    assert value(trait, [state], "UTC", us(NOON)) == Value(1000)
    assert isinstance(state, dict)
    assert sum(len(cell) for cell in state.values() if isinstance(cell, frozenset)) == 1000


def test_a_recent_window_stays_exact_beyond_a_thousand_different_values() -> None:
    trait = a_trait(Aggregate.DISTINCT, window=Rolling(2 * DAY_US))
    events = [happened("2026-03-09T00:00:00Z", each) for each in range(1100)]
    events += [happened("2026-03-10T11:00:00Z", each) for each in range(5)]
    state = states(trait, events, at="2026-03-10T11:30:00Z")

    assert value(trait, state, "UTC", us("2026-03-11T01:00:00Z")) == Value(5)


def test_few_values_seen_very_often_stay_exact_in_both_windows() -> None:
    trait = a_trait(Aggregate.DISTINCT, window=Rolling(DAY_US), compare=True)
    begin = us("2026-03-01T00:00:00Z")
    seen = [
        an_event(
            f"{quarter}",
            occur_us=begin + quarter * HOUR_US // 4,
            receive_us=begin + quarter * HOUR_US // 4,
            properties=json.dumps({"value": quarter % 7}),
        )
        for quarter in range(96 * 15)
    ]

    (state,) = states(trait, seen, at="2026-03-04T00:00:00Z")

    assert isinstance(state, dict)
    assert sum(len(cell) for cell in state.values() if isinstance(cell, frozenset)) < 250
    now_us = begin + 15 * DAY_US
    for hours in range(0, 24, 5):
        assert value(trait, [state], "UTC", now_us + hours * HOUR_US) == Value(7, 7)
    assert value(trait, [state], "UTC", now_us + DAY_US) == Value(0, 7)


def test_nothing_nests_too_deep_to_be_told_apart() -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    events = [happened("2026-03-01T09:00:00Z", deep), happened("2026-03-01T09:01:00Z", [[]])]

    assert told(a_trait(Aggregate.DISTINCT), events, at=NOON) == Value(2)


def test_an_event_that_came_a_month_late_changes_nothing() -> None:
    late = happened("2026-01-01T00:00:00Z", received="2026-01-31T00:00:01Z")

    assert told(a_trait(), [late], at=NOON) == Value(None)


# A rolling window.


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-01T09:07:00Z", (1, 0)),
        # A day later it counts; until its quarter of an hour is a day old.
        ("2026-03-02T09:07:00Z", (1, 0)),
        ("2026-03-02T09:14:59Z", (1, 0)),
        ("2026-03-02T09:15:00Z", (0, 1)),
        ("2026-03-03T09:14:59Z", (0, 1)),
        ("2026-03-03T09:15:00Z", (0, 0)),
    ],
)
def test_an_event_leaves_a_rolling_window(at: str, expected: tuple[int, int]) -> None:
    trait = a_trait(window=Rolling(DAY_US), compare=True)

    assert told(trait, [happened("2026-03-01T09:07:00Z")], at=at) == Value(*expected)


def test_a_rolling_window_is_due_when_its_oldest_quarter_leaves() -> None:
    trait = a_trait(window=Rolling(DAY_US))
    events = [happened("2026-03-01T09:07:00Z"), happened("2026-03-01T20:00:00Z")]
    now = "2026-03-01T21:00:00Z"

    assert due(trait, states(trait, events, at=now), "UTC", us(now)) == us("2026-03-02T09:15:00Z")


def test_what_leaves_the_window_before_is_due_as_well() -> None:
    trait = a_trait(window=Rolling(DAY_US), compare=True)
    now = "2026-03-02T12:00:00Z"

    found = due(trait, states(trait, [happened("2026-03-01T09:07:00Z")], at=now), "UTC", us(now))

    assert found == us("2026-03-03T09:15:00Z")


@pytest.mark.parametrize("aggregate", [Aggregate.COUNT, Aggregate.LONGEST_STREAK])
def test_what_is_of_all_time_is_never_due(aggregate: Aggregate) -> None:
    trait = a_trait(aggregate)

    assert due(trait, states(trait, THREE, at=NOON), "UTC", us(NOON)) is None


# The calendar.


@pytest.mark.parametrize(
    ("window", "zone", "begins", "before", "turns"),
    [
        # On the hour, and on half hours and quarters.
        (
            Calendar.DAY,
            "UTC",
            "2026-03-10T00:00:00Z",
            "2026-03-09T00:00:00Z",
            "2026-03-11T00:00:00Z",
        ),
        (
            Calendar.DAY,
            "Asia/Kolkata",
            "2026-03-09T18:30:00Z",
            "2026-03-08T18:30:00Z",
            "2026-03-10T18:30:00Z",
        ),
        (
            Calendar.DAY,
            "Asia/Kathmandu",
            "2026-03-09T18:15:00Z",
            "2026-03-08T18:15:00Z",
            "2026-03-10T18:15:00Z",
        ),
        # The clocks went forward on 8 March: that day had 23 hours.
        (
            Calendar.WEEK,
            "America/New_York",
            "2026-03-09T04:00:00Z",
            "2026-03-02T05:00:00Z",
            "2026-03-16T04:00:00Z",
        ),
        # 10 March 2026 is a Tuesday.
        (
            Calendar.WEEK,
            "UTC",
            "2026-03-09T00:00:00Z",
            "2026-03-02T00:00:00Z",
            "2026-03-16T00:00:00Z",
        ),
        # The month before has 28 days.
        (
            Calendar.MONTH,
            "UTC",
            "2026-03-01T00:00:00Z",
            "2026-02-01T00:00:00Z",
            "2026-04-01T00:00:00Z",
        ),
        # 29 March has 23 hours in Berlin.
        (
            Calendar.MONTH,
            "Europe/Berlin",
            "2026-02-28T23:00:00Z",
            "2026-01-31T23:00:00Z",
            "2026-03-31T22:00:00Z",
        ),
        # A zone that is none is UTC.
        (Calendar.DAY, "", "2026-03-10T00:00:00Z", "2026-03-09T00:00:00Z", "2026-03-11T00:00:00Z"),
    ],
)
def test_a_calendar_window_begins_in_the_zone_of_the_person(
    window: Calendar, zone: str, begins: str, before: str, turns: str
) -> None:
    trait = a_trait(window=window, compare=True)
    zone = known_zone(zone)
    moments = [us(begins), us(begins) - 1, us(before), us(before) - 1]
    events = [an_event(str(moment), occur_us=moment, receive_us=moment) for moment in moments]
    found = states(trait, events, at=NOON, zone=zone)

    assert value(trait, found, zone, us(NOON)) == Value(1, 2)
    assert due(trait, found, zone, us(NOON)) == us(turns)
    assert value(trait, found, zone, us(turns) - 1) == Value(1, 2)
    assert value(trait, found, zone, us(turns)) == Value(0, 1)


@pytest.mark.parametrize(
    ("zone", "begins", "turns"),
    [
        # 23 hours, 25 hours, a midnight that does not exist, and one that exists twice.
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("America/Santiago", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
        ("America/Havana", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
    ],
)
def test_days_on_which_clocks_change(zone: str, begins: str, turns: str) -> None:
    trait = a_trait(window=Calendar.DAY)
    events = [happened(begins)]

    assert told(trait, events, at=begins, zone=zone) == Value(1)
    assert due(trait, states(trait, events, at=begins, zone=zone), zone, us(begins)) == us(turns)
    last = value(trait, states(trait, events, at=begins, zone=zone), zone, us(turns) - 1)
    assert last == Value(1)
    assert told(trait, events, at=turns, zone=zone) == Value(0)


def test_who_moves_to_another_zone_has_another_day() -> None:
    trait = a_trait(window=Calendar.DAY)
    taken = states(trait, [happened("2026-03-09T20:00:00Z")], at=NOON, zone="UTC")

    assert value(trait, taken, "UTC", us(NOON)) == Value(0)
    assert value(trait, taken, "Asia/Tokyo", us(NOON)) == Value(1)


# Streaks.


@pytest.mark.parametrize(
    ("days", "current", "longest"),
    [
        ([10], 1, 1),
        ([9], 1, 1),
        ([8], 0, 1),
        ([8, 9, 10], 3, 3),
        ([9, 10, 9, 10], 2, 2),
        ([5, 6, 7, 9, 10], 2, 3),
        # A late event joins two rows.
        ([5, 6, 7, 9, 10, 8], 6, 6),
        ([10, 8, 9], 3, 3),
    ],
)
def test_streaks_of_days_up_to_the_tenth(days: list[int], current: int, longest: int) -> None:
    events = [
        happened(f"2026-03-{day:02}T12:00:00Z", position, received="2026-03-10T12:00:00Z")
        for position, day in enumerate(days)
    ]

    assert told(a_trait(Aggregate.STREAK), events, at=NOON) == Value(current)
    assert told(a_trait(Aggregate.LONGEST_STREAK), events, at=NOON) == Value(longest)


def test_a_streak_ends_with_the_day_after() -> None:
    trait, zone = a_trait(Aggregate.STREAK), "Asia/Kolkata"
    taken = states(trait, [happened("2026-03-09T20:00:00Z")], at=NOON, zone=zone)
    ends = us("2026-03-11T18:30:00Z")

    assert due(trait, taken, zone, us(NOON)) == ends
    assert value(trait, taken, zone, ends - 1) == Value(1)
    assert value(trait, taken, zone, ends) == Value(0)
    assert due(trait, taken, zone, ends) is None


def test_a_day_with_its_clock_change_is_one_day_of_a_streak() -> None:
    trait, zone = a_trait(Aggregate.STREAK), "Europe/Berlin"
    events = [
        happened("2026-10-24T21:59:00Z"),
        happened("2026-10-25T22:59:00Z"),
        happened("2026-10-26T22:59:00Z"),
    ]

    assert told(trait, events, at="2026-10-26T22:59:30Z", zone=zone) == Value(3)


def test_the_days_of_two_ids_are_one_row() -> None:
    trait = a_trait(Aggregate.STREAK)
    ours = states(trait, [happened("2026-03-08T12:00:00Z")], at=NOON)
    theirs = states(
        trait, [happened("2026-03-09T12:00:00Z"), happened("2026-03-10T11:00:00Z")], at=NOON
    )

    assert value(trait, [*theirs, *ours], "UTC", us(NOON)) == Value(3)


def test_a_hundred_rows_are_kept_and_the_longest() -> None:
    trait = a_trait(Aggregate.LONGEST_STREAK)
    days = [0, 1, 2, *range(4, 404, 2)]
    events = [an_event(str(day), occur_us=day * DAY_US, receive_us=day * DAY_US) for day in days]

    (state,) = states(trait, events, at="1971-06-01T00:00:00Z")

    assert len(state) == 100
    assert value(trait, [state], "UTC", 404 * DAY_US) == Value(3)
