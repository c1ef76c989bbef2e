"""Which segments a change concerns, and what becomes of a membership."""

from services.profile.model.changes import Touched
from services.profile.model.memberships import Answer, Membership
from services.profile.model.segments import Dependencies

OUTSIDE = Membership()


def concerns(touched: Touched, depends_on: Dependencies) -> bool:
    """Return whether what changed of a person can make a filter's answer another."""
    return bool(
        touched.anything
        or (touched.event_types and depends_on.any_event)
        or (touched.event_types & depends_on.event_types)
        or (touched.attributes and depends_on.any_attribute)
        or (touched.attributes & depends_on.attributes)
        or (touched.traits and (depends_on.any_attribute or touched.traits & depends_on.traits))
        or (touched.relations & depends_on.relations)
        or (touched.devices and depends_on.devices)
    )


def settle(
    before: Membership | None, answer: Answer, *, now_us: int, building: bool
) -> Membership | None:
    """Return how a person stands after this answer; None: nothing needs to be written.

    A due time that came earlier than the new one stays: looking once too often is
    harmless, and of who is active daily the time moves with every event. While a
    segment is built, also who stands outside is written down: what the walk over all
    profiles saw of her a moment ago must not come after.
    """
    known = before or OUTSIDE
    if answer.holds == known.member:
        if before is None and (building or answer.due_us is not None):
            return known._replace(due_us=answer.due_us)
        return (
            None if _early_enough(known, answer, now_us) else known._replace(due_us=answer.due_us)
        )
    changed = known._replace(
        member=answer.holds, transition=known.transition + 1, due_us=answer.due_us
    )
    return changed._replace(enter_us=now_us) if answer.holds else changed._replace(exit_us=now_us)


def put_off(before: Membership | None, due_us: int) -> Membership | None:
    """Return how a person stands of whom nothing can be said before then; None: as before."""
    known = before or OUTSIDE
    if known.due_us is not None and known.due_us <= due_us:
        return None
    return known._replace(due_us=due_us)


def _early_enough(known: Membership, answer: Answer, now_us: int) -> bool:
    if known.due_us is None:
        return answer.due_us is None
    return now_us < known.due_us and (answer.due_us is None or known.due_us <= answer.due_us)
