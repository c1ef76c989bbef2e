"""Makes sure that local times and hours are what a clock on the wall shows, on the oddest nights."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whenever import Date

from services.trigger.model import Hours, LocalTime
from services.trigger.rules.civil import instant_on, next_showing
from services.trigger.rules.windows import is_open, opening
from tests.unit.trigger import naive_clock
from tests.unit.trigger.naive_clock import local_times, minutes, moments, weekdays

windows = st.lists(st.builds(Hours, minutes, minutes, weekdays), min_size=1, max_size=3)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(clock: str, *weekdays_: int) -> LocalTime:
    hour, minute = clock.split(":")
    return LocalTime(int(hour) * 60 + int(minute), frozenset(weekdays_))


def hours(start: str, end: str, *weekdays_: int) -> Hours:
    return Hours(at(start).minute, at(end).minute, frozenset(weekdays_))


@pytest.mark.parametrize(
    ("wanted", "after", "zone", "shown"),
    [
        pytest.param(
            at("09:00"), "2026-03-01T12:00", "Asia/Kolkata", "2026-03-02T03:30", id="tomorrow"
        ),
        pytest.param(
            at("09:00"), "2026-03-02T03:30", "Asia/Kolkata", "2026-03-02T03:30", id="just now"
        ),
        pytest.param(
            at("09:00"), "2026-03-02T03:30:01", "Asia/Kolkata", "2026-03-03T03:30", id="just over"
        ),
        pytest.param(
            at("09:00"), "2028-02-28T12:00", "UTC", "2028-02-29T09:00", id="leap day"
        ),
        pytest.param(
            at("09:00"), "2026-02-28T12:00", "UTC", "2026-03-01T09:00", id="end of a short month"
        ),
        pytest.param(
            at("09:00", 1), "2026-03-02T12:00", "UTC", "2026-03-09T09:00", id="Monday next week"
        ),
        pytest.param(
            at("02:30"), "2026-03-28T12:00", "Europe/Berlin", "2026-03-29T01:00", id="left out"
        ),
        pytest.param(
            at("02:15"), "2026-10-03T12:00", "Australia/Lord_Howe", "2026-10-03T15:30",
            id="left out, of half an hour",
        ),
        pytest.param(
            at("02:30"), "2026-10-24T12:00", "Europe/Berlin", "2026-10-25T00:30", id="twice"
        ),
        pytest.param(
            at("02:30"), "2026-10-25T00:31", "Europe/Berlin", "2026-10-26T01:30",
            id="the second of two is none",
        ),
        pytest.param(
            at("00:30"), "2018-11-03T12:00", "America/Sao_Paulo", "2018-11-04T03:00",
            id="no midnight",
        ),
        pytest.param(
            at("09:00"), "2011-12-29T20:00", "Pacific/Apia", "2011-12-30T19:00",
            id="a day that was left out has no nine o'clock",
        ),
        pytest.param(
            at("09:00", 5), "2011-12-29T20:00", "Pacific/Apia", "2012-01-05T19:00",
            id="nor is it a Friday",
        ),
    ],
)  # fmt: skip
def test_a_local_time_comes_when_the_clock_shows_it(
    wanted: LocalTime, after: str, zone: str, shown: str
) -> None:
    assert next_showing(wanted, utc(after), zone) == utc(shown)


def test_a_day_that_a_zone_left_out_has_no_instants() -> None:
    assert instant_on(Date(2011, 12, 30), 9 * 60, "Pacific/Apia") is None


@settings(max_examples=150, deadline=None)
@given(local_times, moments())
def test_local_times_are_those_of_a_clock_on_the_wall(
    wanted: LocalTime, moment: tuple[datetime, str]
) -> None:
    after, zone = moment

    found = next_showing(wanted, after, zone)

    assert found == next(naive_clock.showings(wanted, after, zone))


@settings(max_examples=60, deadline=None)
@given(minutes, moments())
def test_a_local_time_comes_once_a_day(minute: int, moment: tuple[datetime, str]) -> None:
    after, zone = moment
    wanted, step = LocalTime(minute), timedelta(microseconds=1)

    first = next_showing(wanted, after, zone)
    assert first is not None
    second = next_showing(wanted, first + step, zone)

    assert second is not None
    # A day is as long as its zone makes it; Troll takes two hours of one, and Samoa took a whole.
    assert timedelta(hours=20) < second - first < timedelta(hours=28)


@pytest.mark.parametrize(
    ("window", "after", "zone", "opens"),
    [
        pytest.param(
            [hours("09:00", "21:00")], "2026-03-01T12:00", "UTC", "2026-03-01T12:00", id="open"
        ),
        pytest.param(
            [hours("09:00", "21:00")], "2026-03-01T21:00", "UTC", "2026-03-02T09:00",
            id="closes with its end",
        ),
        pytest.param(
            [hours("22:00", "06:00", 5)], "2026-03-07T03:00", "UTC", "2026-03-07T03:00",
            id="over midnight, of the day that it began",
        ),
        pytest.param(
            [hours("22:00", "06:00", 5)], "2026-03-08T03:00", "UTC", "2026-03-13T22:00",
            id="over midnight, of another day",
        ),
        pytest.param(
            [hours("00:00", "00:00", 6)], "2026-03-06T12:00", "UTC", "2026-03-07T00:00",
            id="a whole day",
        ),
        pytest.param(
            [hours("09:00", "12:00"), hours("14:00", "18:00")], "2026-03-01T12:30", "UTC",
            "2026-03-01T14:00", id="the next of several",
        ),
        pytest.param(
            [hours("02:30", "04:00")], "2026-03-28T12:00", "Europe/Berlin", "2026-03-29T01:00",
            id="a start that was left out",
        ),
        pytest.param(
            [hours("02:15", "02:45")], "2026-03-29T00:00", "Europe/Berlin", "2026-03-30T00:15",
            id="all left out",
        ),
        pytest.param(
            [hours("02:15", "02:45")], "2026-10-25T00:50", "Europe/Berlin", "2026-10-25T01:15",
            id="shown twice, open twice",
        ),
        pytest.param(
            [hours("02:15", "02:20", 7)], "2026-03-28T12:00", "Europe/Berlin", "2026-04-05T00:15",
            id="a week on, when its night was left out",
        ),
    ],
)  # fmt: skip
def test_a_window_opens_when_the_clock_shows_one_of_its_hours(
    window: list[Hours], after: str, zone: str, opens: str
) -> None:
    assert opening(window, utc(after), zone) == utc(opens)


def test_no_window_is_always_open() -> None:
    assert opening((), utc("2026-03-01T03:00"), "UTC") == utc("2026-03-01T03:00")


@settings(max_examples=300, deadline=None)
@given(windows, moments())
def test_a_window_is_open_when_a_clock_on_the_wall_says_so(
    window: list[Hours], moment: tuple[datetime, str]
) -> None:
    now, zone = moment

    assert is_open(window, now, zone) == naive_clock.is_open(window, now, zone)


@settings(max_examples=150, deadline=None)
@given(windows, moments())
def test_a_window_opens_when_a_clock_on_the_wall_says_so(
    window: list[Hours], moment: tuple[datetime, str]
) -> None:
    after, zone = moment

    assert opening(window, after, zone) == naive_clock.opening(window, after, zone)
