"""How many messages of a campaign may go out a minute?"""

from dataclasses import replace
from datetime import datetime, timedelta

from services.trigger.model import Enrollment, EnrollmentState, Plan

# A slot that is missed by more is taken anew. Slots are so much further apart that with those that
# are late a minute still has no more than it may.
_LATE = timedelta(seconds=1)
_MINUTE = timedelta(seconds=60)


def interval_of(plan: Plan) -> timedelta:
    """Return how far apart the slots of a campaign with a rate are."""
    return (_MINUTE + _LATE) / plan.sends_per_minute


def asks_for_slot(plan: Plan | None, passage: Enrollment, *, now: datetime) -> bool:
    """Say whether a message that may go out needs a slot first."""
    if plan is None or not plan.sends_per_minute:
        return False
    return passage.slot_time is None or now - passage.slot_time > _LATE


def at_slot(waiting: Enrollment, released: Enrollment, slot: datetime, now: datetime) -> Enrollment:
    """Return the passage as it stands with its slot: released, or waiting for it.

    Args:
        waiting: as it was before it was released.
        released: as it would go out now.
        slot: when the rate lets it go.
        now: when this is asked.
    """
    if slot <= now:
        return replace(released, slot_time=slot)
    # It is judged again then: nothing of now goes on record.
    return replace(waiting, state=EnrollmentState.WAITING, slot_time=slot, wake_time=slot)
