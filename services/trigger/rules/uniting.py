"""How do the passages of a person stand who was taken for several until now?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Leave,
    Occurrence,
    Person,
    Plan,
    Refusal,
    Restart,
    Stop,
)
from services.trigger.rules.exceptions import judge_exception, stopped
from services.trigger.rules.gates import passed, refused
from services.trigger.rules.triggers import enroll, reentry

_GONE = (EnrollmentState.SENDING, EnrollmentState.SENT)


@dataclass(frozen=True, slots=True)
class United:
    """What becomes of passages when their people turn out to be one."""

    passages: tuple[Enrollment, ...] = ()
    """Those that changed or begin, as they are to stand."""
    refusals: tuple[Refusal, ...] = ()
    """Passages that would never have begun."""


def unite(
    plan: Plan,
    passages: Sequence[Enrollment],
    events: Iterable[Occurrence],
    person: Person,
    *,
    entries: Sequence[tuple[str, datetime]] = (),
    now: datetime,
) -> United:
    """Judge the passages of one campaign as if their people had been one all along.

    Goes through what happened in the order in which it occurred. What one id did is an exception
    for what another had begun; what would have been refused because the other had entered is
    refused now. What has gone out stays out, and what was refused stays refused: nothing goes out
    for an event of which nobody heard at its time.

    Args:
        plan: the campaign, active or paused.
        passages: all of the person, under the id she goes by now.
        events: what she did under any id since the first of them, of exception types.
        person: how she stands, united.
        entries: (id, latest entry) of passages that are not kept any more.
        now: when it is judged.
    """
    story = _Story(plan, person, entries, now)
    begun = {one.event.uid: one for one in passages}
    steps: dict[UUID, Occurrence] = {one.uid: one for one in events}
    steps |= {one.event.uid: one.event for one in passages}
    for event in sorted(steps.values(), key=_order):
        story.tell(event, begun.get(event.uid))
    return story.ends(begun)


def _order(event: Occurrence) -> tuple[datetime, datetime, bytes]:
    # At one instant what was received first came first; of one batch of two ids nobody knows.
    return event.occur_time, event.receive_time, event.uid.bytes


class _Story:
    """What happened so far, and how it leaves the passages."""

    def __init__(
        self, plan: Plan, person: Person, entries: Sequence[tuple[str, datetime]], now: datetime
    ) -> None:
        self._plan = plan
        self._person = person
        self._entries = entries
        self._now = now
        self._told: dict[UUID, Enrollment] = {}
        self._refusals: list[Refusal] = []

    def tell(self, event: Occurrence, passage: Enrollment | None) -> None:
        """Judge an event, and the passage that it began, if it did."""
        restarted = self._except(event)
        if restarted:
            self._restart(event, passage, min(one.entry_time for one in restarted))
        elif passage is not None:
            self._begin(passage)

    def ends(self, before: dict[UUID, Enrollment]) -> United:
        """Return what has changed."""
        kept = [self._told[uid] for uid in self._told if self._told[uid] is not before.get(uid)]
        return United(tuple(self._gone_out(kept)), tuple(self._refusals))

    def _except(self, event: Occurrence) -> list[Enrollment]:
        restarted: list[Enrollment] = []
        for uid, passage in self._told.items():
            # What came under its own id was judged when it came.
            if (event.member or event.profile) == passage.origin:
                continue
            match judge_exception(self._plan, event, self._person, passage, now=self._now):
                case Leave():
                    pass
                case Stop(gate):
                    self._told[uid] = stopped(passage, gate)
                case Restart(gate):
                    restarted.append(passage)
                    self._told[uid] = stopped(passage, gate)
        return restarted

    def _restart(self, event: Occurrence, passage: Enrollment | None, entry_time: datetime) -> None:
        gate = passed("exception", "restarts the delay of an earlier one", self._now)
        if passage is None:
            gates = (passed("filter", "passed", self._now), gate)
            passage = enroll(
                self._plan,
                event,
                event.profile,
                gates,
                entry_time=entry_time,
                now=self._now,
                at_once=False,
            )
            passage = replace(passage, member=event.member)
        elif passage.state is EnrollmentState.WAITING:
            passage = replace(
                passage,
                entry_time=min(entry_time, passage.entry_time),
                gates=(*passage.gates, gate),
            )
        self._told[event.uid] = passage

    def _begin(self, passage: Enrollment) -> None:
        last = max(self._others(passage), key=lambda one: one[1], default=None)
        if passage.state is EnrollmentState.WAITING and last is not None:
            other, at = last
            name, holds, detail = reentry(self._plan, passage.entry_time, at)
            if not holds:
                self._refuse(passage, name, f"united with {other}: {detail}")
                return
        self._told[passage.event.uid] = passage

    def _others(self, passage: Enrollment) -> list[tuple[str, datetime]]:
        """Return the entries so far under other ids; its own were asked about when it began."""
        entries = [(one.origin, one.entry_time) for one in self._told.values()]
        return [one for one in (*self._entries, *entries) if one[0] != passage.origin]

    def _refuse(self, passage: Enrollment, gate: str, detail: str) -> None:
        self._refusals.append(
            Refusal(
                passage.key,
                passage.event,
                (*passage.gates, refused(gate, detail, self._now)),
                passage.decide_time,
                passage.campaign_version,
                passage.member,
            )
        )

    def _gone_out(self, changed: Sequence[Enrollment]) -> Iterable[Enrollment]:
        """Yield what has changed, and end what waits though a later one has gone out for her."""
        seen = {one.event.uid for one in changed}
        for uid, passage in self._told.items():
            later = self._sent_later(passage)
            if passage.state is EnrollmentState.WAITING and later is not None:
                detail = f"united with {later.origin}, who got it for {later.event.event_id}"
                gate = refused("reentry", detail, self._now)
                yield stopped(passage, gate)
            elif uid in seen:
                yield passage

    def _sent_later(self, passage: Enrollment) -> Enrollment | None:
        for one in self._told.values():
            if (
                one.state in _GONE
                and one.origin != passage.origin
                and one.entry_time >= passage.entry_time
                and not reentry(self._plan, one.entry_time, passage.entry_time)[1]
            ):
                return one
        return None
