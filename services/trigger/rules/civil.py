"""Which instant is it when the clock of a zone shows some time?"""

from datetime import datetime

from whenever import Date, Instant, PlainDateTime, Time, ZonedDateTime

from services.trigger.model import LocalTime

# Any day of the week comes again within a week, but for one that the zone left out.
_DAYS = 15


def local(moment: datetime, zone: str) -> ZonedDateTime:
    """Return what the clock of a zone shows at a moment.

    Raises:
        ValueError: It shows a year that no calendar of ours has.
    """
    return Instant(moment).to_tz(zone)


def instant_on(day: Date, minute: int, zone: str) -> datetime | None:
    """Return the instant at which the clock of a zone shows that minute of a day.

    Of a minute that the clock shows twice, the first time. Of one that it leaves out, the next
    instant that there is. None: the zone left out the whole day.
    """
    shown = day.at(Time(minute // 60, minute % 60))
    first = shown.assume_tz(zone, disambiguation="earlier")
    if first.to_plain() == shown:
        return first.to_instant().to_stdlib()
    after = _gap_end(first)
    if day not in (after.date(), after.subtract(nanoseconds=1).date()):
        return None
    return after.to_instant().to_stdlib()


def next_showing(wanted: LocalTime, after: datetime, zone: str) -> datetime | None:
    """Return the first instant, not before `after`, at which the clock of a zone shows a time.

    Only the first time that it does on a day. None: in no fortnight to come.
    """
    today = local(after, zone).date()
    # Yesterday's may come yet, where a gap reaches over midnight.
    for days in range(-1, _DAYS):
        day = today.add(days=days)
        if not wanted.on(day.day_of_week().value):
            continue
        found = instant_on(day, wanted.minute, zone)
        if found is not None and found >= after:
            return found
    return None


def both(shown: PlainDateTime, zone: str) -> tuple[datetime, ...]:
    """Return every instant at which the clock of a zone shows that: none, one or two."""
    found = (shown.assume_tz(zone, disambiguation=which) for which in ("earlier", "later"))
    return tuple(one.to_instant().to_stdlib() for one in found if one.to_plain() == shown)


def _gap_end(before: ZonedDateTime) -> ZonedDateTime:
    """Return the first instant after a gap; what its minutes mean `earlier` lies before it."""
    after = before
    while after.offset == before.offset:
        following = after.next_transition()
        assert following is not None, "a gap ends with a transition"
        after = following
    return after
