"""Makes sure that everybody's days and weeks begin and end where their clocks say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.throttle.model import Calendar
from services.throttle.rules import calendar_window, instant, micros
from tests.unit.throttle.naive import number_of
from tests.unit.throttle.strategies import instants_at_edges

_1990 = datetime(1990, 1, 1, tzinfo=UTC)


def _at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def window(kind: Calendar, zone: str, now: Sequence[int]) -> tuple[str, str]:
    start, end = calendar_window(kind, zone, micros(_at(*now)))
    return f"{instant(start):%F %R}", f"{instant(end):%F %R}"


@pytest.mark.parametrize(
    ("zone", "now", "start", "end"),
    [
        ("UTC", (2026, 11, 18, 12), "2026-11-18 00:00", "2026-11-19 00:00"),
        ("Asia/Kolkata", (2026, 11, 18, 20), "2026-11-18 18:30", "2026-11-19 18:30"),
        # 23 and 25 hours.
        ("Europe/Berlin", (2026, 3, 29, 12), "2026-03-28 23:00", "2026-03-29 22:00"),
        ("Europe/Berlin", (2026, 10, 25, 12), "2026-10-24 22:00", "2026-10-25 23:00"),
        # Midnight does not exist: the day begins at 01:00, 03:00 UTC.
        ("America/Sao_Paulo", (2018, 11, 4, 12), "2018-11-04 03:00", "2018-11-05 02:00"),
        # The clock jumped from 23:30 to 00:30, which is the first instant of the day.
        ("America/Toronto", (1919, 3, 31, 12), "1919-03-31 04:30", "1919-04-01 04:00"),
        # Midnight exists twice: the first.
        ("America/Havana", (2026, 11, 1, 12), "2026-11-01 04:00", "2026-11-02 05:00"),
        # 00:01 became 23:01 of the day before; the new day had begun and goes on.
        ("America/St_Johns", (2010, 11, 7, 3), "2010-11-07 02:30", "2010-11-08 03:30"),
        # December 30th was left out.
        ("Pacific/Apia", (2011, 12, 30, 8), "2011-12-29 10:00", "2011-12-30 10:00"),
        ("Pacific/Apia", (2011, 12, 30, 12), "2011-12-30 10:00", "2011-12-31 10:00"),
    ],
)
def test_a_day_is_the_persons_day(zone: str, now: tuple[int, ...], start: str, end: str) -> None:
    assert window(Calendar.DAY, zone, now) == (start, end)


@pytest.mark.parametrize(
    ("zone", "now", "start", "end"),
    [
        ("UTC", (2026, 11, 22, 23, 59), "2026-11-16 00:00", "2026-11-23 00:00"),
        ("UTC", (2026, 11, 23), "2026-11-23 00:00", "2026-11-30 00:00"),
        ("Europe/Berlin", (2026, 10, 25, 12), "2026-10-18 22:00", "2026-10-25 23:00"),
        ("Asia/Kathmandu", (2026, 6, 7, 18, 15), "2026-06-07 18:15", "2026-06-14 18:15"),
    ],
)
def test_a_week_begins_on_the_persons_monday(
    zone: str, now: tuple[int, ...], start: str, end: str
) -> None:
    assert window(Calendar.WEEK, zone, now) == (start, end)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "a\0b", "../etc/passwd", "x" * 100_000, "ü"])
def test_a_zone_nobody_knows_is_utc(zone: str) -> None:
    assert window(Calendar.DAY, zone, (2026, 11, 18, 12)) == (
        "2026-11-18 00:00",
        "2026-11-19 00:00",
    )


@given(instants_at_edges(), st.sampled_from(Calendar))
def test_windows_follow_each_other_without_gap(where: tuple[str, datetime], kind: Calendar) -> None:
    zone, now = where
    start, end = calendar_window(kind, zone, micros(now))

    assert start <= micros(now) < end
    assert calendar_window(kind, zone, start) == (start, end)
    assert calendar_window(kind, zone, end - 1) == (start, end)
    assert calendar_window(kind, zone, end)[0] == end
    assert calendar_window(kind, zone, start - 1)[1] == start


@given(
    st.sampled_from(sorted(available_timezones())),
    st.integers(0, 47 * 365 * 24 * 60).map(lambda minute: _1990 + timedelta(minutes=minute)),
)
def test_windows_hold_together_everywhere(zone: str, now: datetime) -> None:
    start, end = calendar_window(Calendar.DAY, zone, micros(now))

    assert start <= micros(now) < end
    assert timedelta(hours=20) <= instant(end) - instant(start) <= timedelta(hours=28)
    assert calendar_window(Calendar.DAY, zone, end)[0] == end


@given(instants_at_edges(), st.timedeltas(timedelta(days=-8), timedelta(days=8)))
def test_two_instants_share_a_window_when_a_recount_says_so(
    where: tuple[str, datetime], apart: timedelta
) -> None:
    zone, now = where
    for kind in Calendar:
        start, end = calendar_window(kind, zone, micros(now))

        shared = start <= micros(now + apart) < end

        assert shared == (number_of(kind, now, zone) == number_of(kind, now + apart, zone))
