"""Which quarters of an hour a window holds, and when that changes."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from whenever import Date, Instant, Time, TimeZoneNotFoundError

from services.profile.model.traits import QUARTER_US, Calendar, Rolling, Trait, Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_QUARTERS = 96
_ANY_INSTANT = Instant.from_utc(1970, 1, 1)
# No zone of the tz database has a longer name.
_ZONE_CHARACTERS_MAX = 64
_LONGEST_DAYS = {Calendar.DAY: 1, Calendar.WEEK: 7, Calendar.MONTH: 31}
# Two hours less on the night clocks go forward; a day that a zone left out; February.
_SHORTEST_QUARTERS = {
    Calendar.DAY: 88,
    Calendar.WEEK: 5 * _DAY_QUARTERS,
    Calendar.MONTH: 26 * _DAY_QUARTERS,
}
# People move from one edge of the calendar to the other, and processes' clocks differ.
_SLACK_QUARTERS = 2 * _DAY_QUARTERS


class Span(NamedTuple):
    """Where a window stands at one moment."""

    previous: int
    """First quarter of the window before."""
    current: int
    """First quarter of this one. It has no last: what is ahead of our clock is now."""
    turn_us: int
    """When it moves on, for a calendar window; 0 for a rolling one, which slides."""


def span(window: Window, time_zone: str, now_us: int) -> Span:
    """Return where the window stands.

    Rolling, an event counts for the length of the window at least, and until the
    quarter of an hour that it fell into is as old as that.
    """
    if isinstance(window, Rolling):
        current = (now_us - window.span_us) // QUARTER_US
        return Span(current - window.span_us // QUARTER_US, current, 0)
    return _calendar_span(window, time_zone, now_us // QUARTER_US)


def horizon(trait: Trait, now_us: int) -> int:
    """Return the first quarter that may ever be asked for again, in whatever zone."""
    if trait.window is None:
        return 0
    windows = 2 if trait.compare else 1
    if isinstance(trait.window, Rolling):
        length = trait.window.span_us // QUARTER_US
    else:
        length = _LONGEST_DAYS[trait.window] * _DAY_QUARTERS
    return now_us // QUARTER_US - windows * length - _SLACK_QUARTERS


def shortest(window: Window) -> int:
    """Return the length of the window in quarters, where lengths differ a safe lower bound."""
    if isinstance(window, Rolling):
        return window.span_us // QUARTER_US
    return _SHORTEST_QUARTERS[window]


def local_day(time_us: int, time_zone: str) -> int:
    """Return the ordinal of the day on the calendar of the zone."""
    return _quarters_day(time_us // QUARTER_US, time_zone)


def day_start_us(day: int, time_zone: str) -> int:
    """Return the first instant of a day by its ordinal."""
    return _start_us(Date(datetime.fromordinal(day).date()), time_zone)


@lru_cache(maxsize=1024)
def known_zone(time_zone: str) -> str:
    """Return the zone, or UTC where there is no such zone."""
    if not time_zone or len(time_zone) > _ZONE_CHARACTERS_MAX:
        return "UTC"
    try:
        _ANY_INSTANT.to_tz(time_zone)
    except TimeZoneNotFoundError:
        return "UTC"
    return time_zone


# Many people of few zones are asked about at about the same time.
@lru_cache(maxsize=4096)
def _calendar_span(window: Calendar, time_zone: str, quarter: int) -> Span:
    first = _first_day(window, _instant(quarter).to_tz(time_zone).date())
    start, end = _start_us(first, time_zone), _start_us(_next(window, first), time_zone)
    # A clock set back over midnight shows yesterday's date again, after today began.
    while quarter * QUARTER_US >= end:
        first = _next(window, first)
        start, end = end, _start_us(_next(window, first), time_zone)
    before = _start_us(_first_day(window, first.subtract(days=1)), time_zone)
    return Span(before // QUARTER_US, start // QUARTER_US, end)


@lru_cache(maxsize=4096)
def _quarters_day(quarter: int, time_zone: str) -> int:
    return _instant(quarter).to_tz(time_zone).date().to_stdlib().toordinal()


def _first_day(window: Calendar, day: Date) -> Date:
    match window:
        case Calendar.DAY:
            return day
        case Calendar.WEEK:
            return day.subtract(days=day.day_of_week().value - 1)
        case Calendar.MONTH:
            return day.replace(day=1)


def _next(window: Calendar, first: Date) -> Date:
    if window is Calendar.MONTH:
        return first.add(months=1)
    return first.add(days=_LONGEST_DAYS[window])


def _start_us(day: Date, zone: str) -> int:
    # From noon, as midnight may not exist; a day that was left out begins with the next.
    noon = day.at(Time(12)).assume_tz(zone, disambiguation="compatible")
    return (noon.start_of("day").to_instant().to_stdlib() - _EPOCH) // _MICROSECOND


def _instant(quarter: int) -> Instant:
    return Instant.from_timestamp(quarter * (QUARTER_US // 1_000_000))
