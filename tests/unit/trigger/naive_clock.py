"""What a clock on the wall shows, read minute by minute: slow, and too simple to be wrong.

Knows the zones from another library than the rules do.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from services.trigger.model import Hours, LocalTime

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# Nights on which clocks were set, and what is odd about each.
NIGHTS = {
    "Europe/Berlin forward, an hour": ("Europe/Berlin", "2026-03-29T01:00"),
    "Europe/Berlin back, an hour": ("Europe/Berlin", "2026-10-25T01:00"),
    "New York forward": ("America/New_York", "2026-03-08T07:00"),
    "New York back": ("America/New_York", "2026-11-01T06:00"),
    "half an hour forward": ("Australia/Lord_Howe", "2026-10-03T15:30"),
    "half an hour back": ("Australia/Lord_Howe", "2026-04-04T15:00"),
    "two hours forward": ("Antarctica/Troll", "2026-03-29T01:00"),
    "no midnight": ("America/Sao_Paulo", "2018-11-04T03:00"),
    "midnight twice, a minute past": ("America/St_Johns", "2010-11-07T02:31"),
    "a gap over midnight's minute": ("America/St_Johns", "2010-03-14T03:31"),
    "back over midnight, half an hour": ("Asia/Pyongyang", "2015-08-14T15:00"),
    "a day left out": ("Pacific/Apia", "2011-12-30T10:00"),
    "another day left out": ("Pacific/Kwajalein", "1993-08-21T12:00"),
    "winter time in summer": ("Africa/Casablanca", "2026-02-15T02:00"),
    "three quarters of an hour": ("Pacific/Chatham", "2026-09-26T14:00"),
    "no such night": ("Asia/Kolkata", "2026-03-29T01:00"),
    "end of a short month": ("UTC", "2028-02-29T00:00"),
}

minutes = st.integers(0, 24 * 60 - 1)
weekdays = st.frozensets(st.integers(1, 7), max_size=3)
local_times = st.builds(LocalTime, minutes, weekdays)


@st.composite
def moments(draw: st.DrawFn, days: int = 3) -> tuple[datetime, str]:
    """Return a moment not far from a night on which clocks were set, and the zone."""
    zone, text = draw(st.sampled_from(sorted(NIGHTS.values())))
    night = datetime.fromisoformat(text).replace(tzinfo=UTC)
    span = days * 24 * 3600
    seconds = draw(st.integers(-span, span) | st.integers(-60, 60).map(lambda one: one * 60))
    return night + timedelta(seconds=seconds), zone


def showings(wanted: LocalTime, after: datetime, zone: str) -> Iterator[datetime]:
    """Yield every instant from `after` on at which the clock shows a time, as the rules mean it."""
    here = ZoneInfo(zone)
    at = _next_minute(after)
    before = _wall(at - MINUTE, here)
    while True:
        wall = _wall(at, here)
        left_out = [
            datetime.combine(day, _time(wanted.minute)) for day in {before.date(), wall.date()}
        ]
        jumped = any(before < one < wall and _on(one, wanted.weekdays) for one in left_out)
        first = at.astimezone(here).fold == 0
        shown = wall.time() == _time(wanted.minute) and first and _on(wall, wanted.weekdays)
        if jumped or shown:
            yield at
        before, at = wall, at + MINUTE


def is_open(window: Sequence[Hours], at: datetime, zone: str) -> bool:
    """Say whether what the clock shows lies in hours that began today or yesterday."""
    wall = _wall(at, ZoneInfo(zone))
    for hours in window:
        for day in (wall.date(), wall.date() - DAY):
            begin = datetime.combine(day, _time(hours.start))
            end = datetime.combine(day, _time(hours.end))
            if end <= begin:
                end += DAY
            if begin <= wall < end and _on(begin, hours.weekdays):
                return True
    return False


def opening(window: Sequence[Hours], after: datetime, zone: str) -> datetime:
    """Return the first instant at which the window is open."""
    if is_open(window, after, zone):
        return after
    at = _next_minute(after)
    while not is_open(window, at, zone):
        at += MINUTE
    return at


def _wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _next_minute(after: datetime) -> datetime:
    whole = after.replace(second=0, microsecond=0)
    return whole if whole == after else whole + MINUTE


def _time(minute: int) -> time:
    return time(minute // 60, minute % 60)


def _on(wall: datetime, days: frozenset[int]) -> bool:
    return not days or wall.isoweekday() in days
