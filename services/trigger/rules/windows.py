"""When may a message go out, by the clock of who gets it?"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from whenever import Date, Time

from services.trigger.model import Hours
from services.trigger.rules.civil import both, local

# Weekly hours begin again within a week, and a week later if a night of theirs was left out.
_DAYS = 15


def is_open(window: Sequence[Hours], at: datetime, zone: str) -> bool:
    """Say whether the clock of a zone shows one of the hours: what it shows is all that counts."""
    shown = local(at, zone)
    weekday, minute = shown.day_of_week().value, shown.hour * 60 + shown.minute
    return any(hours.at(weekday, minute) for hours in window)


def opening(window: Sequence[Hours], after: datetime, zone: str) -> datetime | None:
    """Return the first instant, not before `after`, at which the window is open.

    None: in no fortnight to come, as of hours that their zone always leaves out.
    """
    if not window or is_open(window, after, zone):
        return after

    def first(moments: Iterable[datetime], found: datetime | None) -> datetime | None:
        opens = [one for one in moments if one > after and is_open(window, one, zone)]
        return min((*opens, found) if found is not None else opens, default=None)

    today = local(after, zone).date()
    found: datetime | None = None
    for days in range(-1, _DAYS):
        earlier = found
        found = first(_starts(window, today.add(days=days), zone), found)
        # A clock that is set back over midnight shows tomorrow's minutes before today's last.
        if earlier is not None:
            break
    return first(_turns(after, today.add(days=_DAYS), zone), found)


def _starts(window: Sequence[Hours], day: Date, zone: str) -> Iterator[datetime]:
    """Yield when the clock shows, on a day, that some hours start."""
    for hours in window:
        if hours.on(day.day_of_week().value):
            yield from both(day.at(Time(hours.start // 60, hours.start % 60)), zone)


def _turns(after: datetime, last: Date, zone: str) -> Iterator[datetime]:
    """Yield when the clock is set: it may show any hour then."""
    turn = local(after, zone).next_transition()
    while turn is not None and turn.date() <= last:
        yield turn.to_instant().to_stdlib()
        turn = turn.next_transition()
