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
    timing = plan.timing
    base = recipient_base(plan, event, zone)
    if plan.dwell is not None:
        base += plan.dwell
    if not timing.waits:
        # Every event comes through here.
        return Due(base + plan.delay, "")
    if timing.event_property:
        value = event.properties.get(timing.event_property)
        stamp = parse_timestamp(value)
        if stamp is None:
            what = "is absent" if value is None else "holds no timestamp"
            return NoDue(f"{timing.event_property} {what}")
        base = stamp
    try:
        due = base + timing.offset + plan.delay
        if timing.local_time is not None:
            showing = next_showing(timing.local_time, due, zone)
            if showing is None:
                return NoDue(f"never {_clock(timing.local_time.minute)} in {zone}")
            due = showing
        due += _share(plan, event, origin) * timing.spread
    except (ValueError, OverflowError):
        return _BEYOND
    if due >= _LATEST:
        return _BEYOND
    return Due(due, _seen(due, timing.local_time, zone))


def wait_on(plan: Plan, passage: Enrollment, zone: str, *, now: datetime) -> WaitOn | Exit | None:
    """Say whether a message that is due is to wait on, by the clock of the zone she is in now.

    For its local time, where that is later than it was reckoned to be; never earlier. Then for
    the next opening of the send window, if that is before it expires. None: it may go out.
    """
    timing = plan.timing
    if plan.by_her_clock:
        due = due_of(plan, passage.event, passage.origin, zone)
        if isinstance(due, Due) and due.time > max(now, passage.due_time):
            gate = refused("wait", due.seen, now)
            if plan.end_time is not None and due.time >= plan.end_time:
                return Exit((*passage.gates, gate))
            later = replace(
                passage,
                due_time=due.time,
                wake_time=due.time,
                expire_time=expiry(plan, due.time),
                time_zone=zone,
                gates=(*passage.gates, gate),
            )
            return WaitOn(later)
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
