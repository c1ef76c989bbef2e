"""When is a message due that is planned by a date of the person's own?"""

from datetime import datetime, time, timedelta

from whenever import Date

from services.trigger.model import DatePlan, Due, NoDue
from services.trigger.rules.civil import instant_on, local
from services.trigger.rules.timestamps import parse_timestamp

_DAY = timedelta(days=1)
_SHOWN = 40
_DATE_LENGTH = len("2026-12-01")


def date_due(date: DatePlan, value: object, zone: str) -> Due | NoDue:
    """Reckon when a message is due by a date that somebody holds.

    A date alone is that day by the clock of her zone, from its beginning. With a local time the
    offset is whole days of her calendar; without it, it is a span of time.
    """
    if value is None:
        return NoDue(f"{date.attribute} is not set")
    try:
        found = _due(date, value, zone)
    except (ValueError, OverflowError):
        return NoDue(f"{date.attribute} is beyond the calendar")
    if found is None:
        return NoDue(f"{date.attribute} holds no date: {shortened(value)}")
    return Due(found, f"due {_utc(found)} by {date.attribute} {shortened(value)}")


def _due(date: DatePlan, value: object, zone: str) -> datetime | None:
    day = _day(value)
    stamp = None if day is not None else parse_timestamp(value)
    if day is None and stamp is None:
        return None
    if date.local_time is None:
        base = stamp if day is None else instant_on(day, 0, zone)
        # A day that the zone left out begins with the next.
        return None if base is None else base + date.offset
    if day is None:
        assert stamp is not None, "it is one or the other"
        day = local(stamp, zone).date()
    return instant_on(day.add(days=date.offset // _DAY), _minute(date.local_time), zone)


def _day(value: object) -> Date | None:
    if not isinstance(value, str) or len(value) != _DATE_LENGTH:
        return None
    try:
        return Date.parse_iso(value)
    except ValueError:
        return None


def _minute(at: time) -> int:
    return at.hour * 60 + at.minute


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def shortened(value: object) -> str:
    """Return a value as it is put on record."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
