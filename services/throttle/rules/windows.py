"""Where a person's day and week begin and end, on every night clocks change."""

from datetime import UTC, datetime, timedelta

from whenever import Date, Instant, Time, TimeZoneNotFoundError

from services.throttle.model import Calendar, Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ANY_INSTANT = Instant.from_utc(1970, 1, 1)
# No zone of the tz database has a longer name; it may come from outside unchecked.
ZONE_LENGTH_MAX = 64


def micros(time: datetime) -> Micros:
    """Return the time as microseconds, exactly (`timestamp()` is a float and is not)."""
    return (time - _EPOCH) // _MICROSECOND


def span_us(span: timedelta) -> Micros:
    """Return the length in microseconds."""
    return span // _MICROSECOND


def instant(time_us: Micros) -> datetime:
    """Return the microseconds as a time in UTC."""
    return _EPOCH + timedelta(microseconds=time_us)


def calendar_window(window: Calendar, time_zone: str, now_us: Micros) -> tuple[Micros, Micros]:
    """Return the window that holds `now_us`: its first instant, and that of the next.

    Windows of a zone follow each other without gap or overlap, also where a day
    has 23, 24 or 25 hours or was left out, where midnight does not exist (then a
    day begins with its first instant), or exists twice (then with the first).
    An unknown zone is UTC.
    """
    zone = _known(time_zone)
    today = Instant(instant(now_us)).to_tz(zone).date()
    first, length = _first_day(window, today), _DAYS[window]
    start, end = _start(first, zone), _start(first.add(days=length), zone)
    # A clock set back over midnight shows yesterday's date again, after today began.
    while now_us >= end:
        first = first.add(days=length)
        start, end = end, _start(first.add(days=length), zone)
    return start, end


_DAYS = {Calendar.DAY: 1, Calendar.WEEK: 7}


def _first_day(window: Calendar, today: Date) -> Date:
    match window:
        case Calendar.DAY:
            return today
        case Calendar.WEEK:
            return today.subtract(days=today.day_of_week().value - 1)


def _start(day: Date, zone: str) -> Micros:
    # From noon, as midnight may not exist; a day that was left out begins with the next.
    noon = day.at(Time(12)).assume_tz(zone, disambiguation="compatible")
    return micros(noon.start_of("day").to_instant().to_stdlib())


def _known(time_zone: str) -> str:
    if not time_zone or len(time_zone) > ZONE_LENGTH_MAX:
        return "UTC"
    try:
        _ANY_INSTANT.to_tz(time_zone)
    except TimeZoneNotFoundError:
        return "UTC"
    return time_zone
