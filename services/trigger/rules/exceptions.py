"""Does an event stop, restart or leave alone a passage that has not ended?"""

from dataclasses import replace
from datetime import datetime

from services.trigger.model import (
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

_OPEN = (EnrollmentState.WAITING, EnrollmentState.SENDING, EnrollmentState.SENT)


def judge_exception(
    plan: Plan, event: Occurrence, person: Person, passage: Enrollment, *, now: datetime
) -> Stop | Restart | Leave:
    """Judge one event against one passage of its profile.

    An event does not stop its own passage, nor one whose trigger occurred after it. At the
    same instant the order of the log decides: this event came after the passage began.
    Only a passage that still waits can restart; one on its way is past that.
    """
    if (
        passage.state not in _OPEN
        or passage.event.uid == event.uid
        or event.occur_time < passage.event.occur_time
        # Delivery lets nothing out after that, so there is nothing to stop.
        or now >= passage.expire_time
    ):
        return Leave()
    if not any(_holds(rule, event, person, passage, now) for rule in plan.exceptions):
        return Leave()
    waits = passage.state is EnrollmentState.WAITING
    own_type = event.type == plan.trigger_type
    if own_type and (plan.filter is None or plan.filter(event, person, None, now).passed):
        if not waits:
            return Leave()
        seen = f"{event.event_id} restarted the delay"
        return Restart(refused("exception", seen, now))
    return Stop(refused("exception", f"{event.type} {event.event_id} occurred", now))


def stopped(passage: Enrollment, gate: Gate) -> Enrollment:
    """Return the passage after `Stop`: over, or, once it is on its way, to be asked about."""
    waits = passage.state is EnrollmentState.WAITING
    return replace(
        passage,
        state=EnrollmentState.EXITED if waits else EnrollmentState.CANCELING,
        gates=(*passage.gates, gate),
        wake_time=passage.wake_time or passage.due_time,
    )


def orphaned(passage: Enrollment, *, now: datetime) -> Enrollment:
    """Return the passage of somebody after who did what began it was erased: it says too much."""
    return stopped(passage, refused("erasure", "who did it is erased", now))


def _holds(
    rule: ExceptionRule, event: Occurrence, person: Person, passage: Enrollment, now: datetime
) -> bool:
    if rule.event_type != event.type:
        return False
    return rule.filter is None or rule.filter(event, person, passage.event, now).passed
