"""May somebody enter who has entered before, or is on her way?"""

from collections.abc import Iterable

from services.trigger.model import Enrollment, EnrollmentState, Occurrence, Plan

_UNDER_WAY = (EnrollmentState.WAITING, EnrollmentState.SENDING)
# A key of an index: what is longer is told apart by its beginning.
_KEY_MAX = 256


def reentry_key_of(plan: Plan, event: Occurrence) -> str:
    """Return by which value re-entry is asked apart; '' for all events that have none."""
    value = event.properties.get(plan.reentry_property) if plan.reentry_property else None
    # A text, a number or a truth is a value; 7 and 7.0 are one, as they are in JSON.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)[:_KEY_MAX] if isinstance(value, str | int | float) else ""


def simultaneous(plan: Plan, passages: Iterable[Enrollment]) -> tuple[str, bool, str]:
    """Say whether one more passage may be on its way beside those of the recipient."""
    count = sum(one.state in _UNDER_WAY for one in passages)
    seen = f"{count} under way, limit {plan.simultaneous_max}"
    return "simultaneous", count < plan.simultaneous_max, seen
