"""When does a broadcast begin, and when is it due for one of its recipients?"""

from datetime import UTC, datetime, timedelta

from whenever import Date

from services.trigger.model import Occurrence, Plan, Planned, Schedule
from services.trigger.rules.civil import instant_on, local
from services.trigger.rules.zones import UTC as UTC_ZONE
from services.trigger.rules.zones import known_zone

PLANNED_TIME = "planned_time"
"""Property of the event of a broadcast: the civil time that it is of."""

# Where the clocks are furthest ahead (Kiritimati).
_FIRST_ON_EARTH = timedelta(hours=14)
# From there to where they are furthest behind.
_FIRST_TO_LAST = timedelta(hours=26)
# No zone's clock is further from another's.
_MARGIN = timedelta(days=2)
# Hourly ones, from before the margin to behind it.
_TRIES_MAX = 200


def next_planned(plan: Plan, *, launched: datetime, after: datetime | None) -> Planned | None:
    """Return the next time at which a campaign goes out; None: there is none.

    Args:
        plan: with a schedule.
        launched: when the campaign first was.
        after: the latest time at which it began, or was planned to; None: it never did.
    """
    schedule = plan.schedule
    if schedule is None:
        return None
    zone = zone_of_schedule(plan, schedule)
    if schedule.again is None:
        found = _once(plan, schedule, zone, launched)
        if found is None or (after is not None and found.start_time <= after):
            return None
    else:
        earliest = max(launched, plan.start_time or launched)
        found = _recurring(schedule, zone, earliest, after)
    if found is not None and plan.end_time is not None and found.start_time >= plan.end_time:
        return None
    return found


def is_over(plan: Plan, now: datetime) -> bool:
    """Say whether a campaign with a schedule, launched now, would have no time to go out at."""
    found = next_planned(plan, launched=now, after=None)
    if found is None:
        return True
    schedule = plan.schedule
    span = _FIRST_TO_LAST if schedule is not None and schedule.recipient_time else timedelta(0)
    return found.start_time + span + plan.max_trigger_lateness < now


def zone_of_schedule(plan: Plan, schedule: Schedule) -> str:
    """Return by which clock the times of a schedule are."""
    for name in (schedule.time_zone, plan.settings.time_zone):
        if known_zone(name):
            return name
    return UTC_ZONE


def recipient_base(plan: Plan, event: Occurrence, zone: str) -> datetime:
    """Return from when on a message waits: the planned time by the recipient's own clock.

    Of what goes out at one instant for all, and of all else, when the event occurred.
    """
    schedule = plan.schedule
    if schedule is None or not schedule.recipient_time:
        return event.occur_time
    civil = event.properties.get(PLANNED_TIME)
    if not isinstance(civil, str) or not civil:
        return event.occur_time
    due = _instant(datetime.fromisoformat(civil), zone)
    # Of a day that her zone left out there is nothing to wait for.
    return event.occur_time if due is None else due


def _once(plan: Plan, schedule: Schedule, zone: str, launched: datetime) -> Planned | None:
    if schedule.first is None:
        return Planned(max(launched, plan.start_time or launched), "")
    return _planned(schedule, schedule.first, zone)


def _recurring(
    schedule: Schedule, zone: str, earliest: datetime, after: datetime | None
) -> Planned | None:
    assert schedule.again is not None
    civil = schedule.again(_civil(max(earliest, after or earliest)) - _MARGIN)
    for _ in range(_TRIES_MAX):
        if civil is None:
            return None
        found = _planned(schedule, civil, zone)
        # Two civil times may come to one instant, where the clocks are set forward.
        later = found is not None and (after is None or found.start_time > after)
        if found is not None and later and found.start_time >= earliest:
            return found
        civil = schedule.again(civil)
    return None


def _planned(schedule: Schedule, civil: datetime, zone: str) -> Planned | None:
    shown = civil.isoformat(timespec="minutes")
    if schedule.recipient_time:
        return Planned(civil.replace(tzinfo=UTC) - _FIRST_ON_EARTH, shown)
    begins = _instant(civil, zone)
    return None if begins is None else Planned(begins, shown)


def _instant(civil: datetime, zone: str) -> datetime | None:
    day = Date(civil.year, civil.month, civil.day)
    return instant_on(day, civil.hour * 60 + civil.minute, zone)


def _civil(moment: datetime) -> datetime:
    return local(moment, UTC_ZONE).to_plain().to_stdlib()
