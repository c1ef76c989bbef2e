"""Does an event stop, restart or leave alone a passage that has not ended?"""

from dataclasses import replace
from datetime import datetime

from services.trigger.model import (
    Due,
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Gate,
    Leave,
    Occurrence,
    Person,
    Plan,
    Restart,
    Stop,
)
from services.trigger.rules.gates import refused
from services.trigger.rules.timing import due_of
from services.trigger.rules.versions import plan_for, sent_out
from services.trigger.rules.zones import zone_of

DWELL = "dwell"
"""The gate of whether she stayed."""
IGNORED = "ignored"
"""The gate of whether she let a message be."""
DATE = "date"
"""The gate of whether her date is as it was."""
# Whose passage ends by these has not entered by the event that began it.
_NOT_ENTERED = frozenset({DWELL, IGNORED, DATE})
_OPEN = (EnrollmentState.WAITING, EnrollmentState.SENDING, EnrollmentState.SENT)


def judge_exception(
    plan: Plan, event: Occurrence, person: Person, passage: Enrollment, *, now: datetime
) -> Stop | Restart | Leave:
    """Judge one event against one passage of its profile.

    An event does not stop its own passage, nor one whose trigger occurred after it. At the
    same instant the order of the log decides: this event came after the passage began.
    Only a passage that still waits can restart; one on its way is past that. The version of
    `plan` that judges the passage says what an exception is.
    """
    ended = sent_out(plan, passage)
    plan = plan_for(plan, passage)
    if (
        passage.state not in _OPEN
        or passage.event.uid == event.uid
        or event.occur_time < passage.event.occur_time
        # Delivery lets nothing out after that, so there is nothing to stop.
        or now >= passage.expire_time
        # It is over already, and leaves as soon as it is looked at.
        or ended
    ):
        return Leave()
    held = next(
        (rule for rule in plan.exceptions if _holds(rule, event, person, passage, now)), None
    )
    if held is None:
        return Leave()
    waits = passage.state is EnrollmentState.WAITING
    if plan.begins(event) and _begins(plan, event, person, now):
        if not waits:
            return Leave()
        seen = f"{event.event_id} restarted the delay"
        return Restart(refused("exception", seen, now))
    return Stop(refused(held.gate, f"{event.type} {event.event_id} occurred", now))


def stopped(passage: Enrollment, gate: Gate) -> Enrollment:
    """Return the passage after `Stop`: over, or, once it is on its way, to be asked about."""
    waits = passage.state is EnrollmentState.WAITING
    return replace(
        passage,
        state=EnrollmentState.EXITED if waits else EnrollmentState.CANCELING,
        gates=(*passage.gates, gate),
        wake_time=passage.wake_time or passage.due_time,
        dwelling=passage.dwelling and gate.name in _NOT_ENTERED,
    )


def orphaned(passage: Enrollment, *, now: datetime) -> Enrollment:
    """Return the passage of somebody after who did what began it was erased: it says too much."""
    return stopped(passage, refused("erasure", "who did it is erased", now))


def _begins(plan: Plan, event: Occurrence, person: Person, now: datetime) -> bool:
    """Say whether an event of the trigger's own type takes the place of what waits.

    One of which nobody can say when its message is due cannot: it is an exception like others.
    """
    if plan.filter is not None and not plan.filter(event, person, None, now).passed:
        return False
    zone = zone_of(person, plan.settings)
    return isinstance(due_of(plan, event, event.member or event.profile, zone), Due)


def _holds(
    rule: ExceptionRule, event: Occurrence, person: Person, passage: Enrollment, now: datetime
) -> bool:
    if not rule.hears(event):
        return False
    return rule.filter is None or rule.filter(event, person, passage.event, now).passed
