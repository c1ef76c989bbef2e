"""When is a message due, and may it go out now?"""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b

from services.trigger.model import (
    Due,
    Enrollment,
    Exit,
    Gate,
    LocalTime,
    NoDue,
    Occurrence,
    Plan,
    WaitOn,
)
from services.trigger.rules.civil import local, next_showing
from services.trigger.rules.dates import date_due
from services.trigger.rules.gates import passed, refused
from services.trigger.rules.schedules import recipient_base
from services.trigger.rules.timestamps import parse_timestamp
from services.trigger.rules.windows import opening

_BEYOND = NoDue("due beyond the calendar")
# Whatever is reckoned from it is in the calendar still.
_LATEST = datetime(9998, 1, 1, tzinfo=UTC)


def due_of(plan: Plan, event: Occurrence, origin: str, zone: str) -> Due | NoDue:
    """Reckon when the message of a passage is due by the clock of a zone.

    In this order: the base, the delay after it, the local time from there on, the spread. The
    same for the same passage and zone, whenever it is asked.

    Args:
        plan: its campaign.
        event: that began it.
        origin: the id it was begun under.
        zone: of who gets the message.
    """
    base = _base(plan, event, zone)
    if isinstance(base, NoDue):
        return base
    if not plan.timing.waits:
        # Nearly every event comes through here.
        return Due(base.time + plan.delay, base.seen)
    wanted = plan.timing.local_time
    try:
        due = base.time + plan.timing.offset + plan.delay
        showing = due if wanted is None else next_showing(wanted, due, zone)
        if showing is None:
            return NoDue(f"{zone} never shows that time")
        due = showing + _share(plan, event, origin) * plan.timing.spread
    except (ValueError, OverflowError):
        return _BEYOND
    return _BEYOND if due >= _LATEST else Due(due, _seen(due, wanted, zone))


def wait_on(plan: Plan, passage: Enrollment, zone: str, *, now: datetime) -> WaitOn | Exit | None:
    """Say whether a message that is due is to wait on, by the clock of the zone she is in now.

    For its local time, where her clock shows another by now; never earlier than planned. Then for
    the next opening of the send window, if that is before it expires. None: it may go out.
    """
    timing = plan.timing
    later = _by_her_clock(plan, passage, zone)
    if later is not None and later.time > now:
        gate = refused("wait", later.seen, now)
        if plan.end_time is not None and later.time >= plan.end_time:
            return Exit((*passage.gates, gate))
        return WaitOn(
            replace(
                passage,
                due_time=later.time,
                wake_time=later.time,
                expire_time=expiry(plan, later.time),
                time_zone=zone,
                gates=(*passage.gates, gate),
            )
        )
    if not timing.window:
        return None
    opens = opening(timing.window, now, zone)
    if opens == now:
        return None
    gate = closed(plan, passage.due_time, opens, zone, now=now)
    gates = (*passage.gates, gate)
    if opens is None or opens >= expiry(plan, passage.due_time):
        return Exit(gates)
    return WaitOn(replace(passage, wake_time=opens, gates=gates))


def may_go(plan: Plan, zone: str, *, now: datetime) -> tuple[Gate, ...]:
    """Return what is put on record of the times of a message that goes out."""
    if not plan.timing.window:
        return ()
    return (passed("send_window", f"open at {_shown(now, zone)}", now),)


def closed(plan: Plan, due: datetime, opens: datetime | None, zone: str, *, now: datetime) -> Gate:
    """Return the record of a window that is closed."""
    seen = f"closed at {_shown(now, zone)}; "
    if opens is None:
        return refused("send_window", f"{seen}never opens", now)
    expire = expiry(plan, due)
    if opens >= expire:
        seen += f"opens {_utc(opens)}, too late: expires {_utc(expire)}"
    else:
        seen += f"waits until {_utc(opens)}"
    return refused("send_window", seen, now)


def expiry(plan: Plan, due: datetime) -> datetime:
    """Return when a message that was due at `due` expires: by its own time, or the campaign's."""
    expire = due + plan.time_to_live
    return min(expire, plan.end_time) if plan.end_time else expire


def _base(plan: Plan, event: Occurrence, zone: str) -> Due | NoDue:
    """Return from when on a message waits."""
    if plan.timing.event_property:
        value = event.properties.get(plan.timing.event_property)
        stamp = parse_timestamp(value)
        if stamp is None:
            what = "is absent" if value is None else "holds no timestamp"
            return NoDue(f"{plan.timing.event_property} {what}")
        return Due(stamp, "")
    if plan.date is not None:
        return date_due(plan.date, event.properties.get("to"), zone)
    base = recipient_base(plan, event, zone)
    return Due(base if plan.dwell is None else base + plan.dwell, "")


def _by_her_clock(plan: Plan, passage: Enrollment, zone: str) -> Due | None:
    """Return when a message is due by the clock that she has now, if that is later than it was.

    Who was shown the time before it was due, as where she went it was later in the day, is shown
    it again: the next time is hers.
    """
    if not plan.by_her_clock:
        return None
    due = due_of(plan, passage.event, passage.origin, zone)
    if isinstance(due, NoDue):
        return None
    if due.time > passage.due_time:
        return due
    wanted = plan.timing.local_time
    if wanted is None or not _differs(passage.due_time, passage.time_zone, zone):
        return None
    spread = _share(plan, passage.event, passage.origin) * plan.timing.spread
    showing = next_showing(wanted, passage.due_time - spread, zone)
    if showing is None:
        return None
    return Due(showing + spread, _seen(showing + spread, wanted, zone))


def _differs(at: datetime, zone: str, other: str) -> bool:
    """Say whether the clocks of two zones show different times; of none that is known, not."""
    if zone in ("", other):
        return False
    return local(at, zone).offset != local(at, other).offset


def _share(plan: Plan, event: Occurrence, origin: str) -> float:
    """Return a share of the spread, from 0 up to but not including 1; the same for ever."""
    passage = f"{plan.workspace}/{plan.campaign}/{origin}/{event.uid}"
    return int.from_bytes(blake2b(passage.encode(), digest_size=6).digest()) / 2**48


def _seen(due: datetime, wanted: LocalTime | None, zone: str) -> str:
    by = f", {_clock(wanted.minute)} in {zone}" if wanted is not None else ""
    return f"due {_utc(due)}{by}"


def _shown(at: datetime, zone: str) -> str:
    shown = local(at, zone)
    return f"{shown.hour:02}:{shown.minute:02} in {zone}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
