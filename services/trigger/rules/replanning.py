"""Does the date still hold by which a message is planned?"""

from collections.abc import Iterable
from datetime import datetime

from services.trigger.model import (
    CampaignState,
    Enrollment,
    EnrollmentState,
    NoDue,
    Occurrence,
    Person,
    Plan,
)
from services.trigger.rules.beginnings import same
from services.trigger.rules.dates import shortened
from services.trigger.rules.exceptions import DATE, stopped
from services.trigger.rules.gates import refused
from services.trigger.rules.timing import due_of
from services.trigger.rules.zones import zone_of


def outdated(plan: Plan, event: Occurrence, person: Person | None) -> str:
    """Say why an event that told of a date says nothing of now; '' when it does."""
    if plan.date is None or person is None:
        return ""
    now = person.attributes.get(plan.date.attribute)
    told = event.properties.get("to")
    if same(now, told):
        return ""
    if now is None:
        return f"{plan.date.attribute} is not set any more"
    return f"{plan.date.attribute} moved from {shortened(told)} to {shortened(now)}"


def moved(
    plan: Plan, passages: Iterable[Enrollment], person: Person, *, now: datetime
) -> list[Enrollment]:
    """Return those passages, over now, that wait for a date which is another by now."""
    return [
        stopped(passage, refused(DATE, why, now))
        for passage in passages
        if passage.state is EnrollmentState.WAITING
        and (why := outdated(plan, passage.event, person))
    ]


def planned_anew(
    plan: Plan, event: Occurrence, passages: Iterable[Enrollment], person: Person, *, now: datetime
) -> list[Enrollment]:
    """Return those passages, over now, in whose place an event plans another, or would.

    Those that wait for a date which is another by now; and those that an earlier version of the
    campaign has planned for another time.
    """
    some = list(passages)
    over = moved(plan, some, person, now=now)
    planned = due_of(plan, event, event.member or event.profile, zone_of(person, plan.settings))
    if isinstance(planned, NoDue) or plan.state is not CampaignState.ACTIVE:
        return over
    seen = refused(DATE, f"planned anew: {planned.seen}", now)
    return over + [
        stopped(passage, seen)
        for passage in some
        if passage.state is EnrollmentState.WAITING
        and not outdated(plan, passage.event, person)
        and not _as_planned(plan, event, passage, planned.time)
    ]


def waits_already(
    plan: Plan, event: Occurrence, passages: Iterable[Enrollment], planned: datetime
) -> Enrollment | None:
    """Return the passage that waits for the very date that an event tells of, at that time."""
    for passage in passages:
        waits = passage.state is EnrollmentState.WAITING
        if waits and _as_planned(plan, event, passage, planned):
            return passage
    return None


def _as_planned(plan: Plan, event: Occurrence, passage: Enrollment, planned: datetime) -> bool:
    told, tells = passage.event.properties.get("to"), event.properties.get("to")
    kept = passage.campaign_version == plan.version or passage.due_time == planned
    return kept and same(told, tells)
