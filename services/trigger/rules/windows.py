"""When may a message go out, by the clock of who gets it?"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from whenever import Time

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
    candidates = (one for one in _changes(window, after, zone) if one > after)
    return min((one for one in candidates if is_open(window, one, zone)), default=None)


def _changes(window: Sequence[Hours], after: datetime, zone: str) -> Iterator[datetime]:
    """Yield the instants at which a window may open: its clock shows a start, or was set."""
    here = local(after, zone)
    last = here.date().add(days=_DAYS)
    for days in range(-1, _DAYS):
        day = here.date().add(days=days)
        for hours in window:
            yield from both(day.at(Time(hours.start // 60, hours.start % 60)), zone)
    turn = here.next_transition()
    while turn is not None and turn.date() <= last:
        yield turn.to_instant().to_stdlib()
        turn = turn.next_transition()
