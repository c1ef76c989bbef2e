"""How do the passages of a person stand who was taken for several until now?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Gate,
    Leave,
    Occurrence,
    Person,
    Plan,
    Refusal,
    Restart,
)
from services.trigger.rules.exceptions import judge_exception, stopped
from services.trigger.rules.gates import passed, refused
from services.trigger.rules.recipients import actor_of
from services.trigger.rules.reentry import reentry_key_of, simultaneous
from services.trigger.rules.replanning import moved
from services.trigger.rules.triggers import enroll, reentry
from services.trigger.rules.variants import assign
from services.trigger.rules.versions import plan_for

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
    entries: Sequence[tuple[str, datetime, str]] = (),
    before: Mapping[str, str] | None = None,
    arm: str = "",
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
        entries: (id, latest entry, value by which re-entry is asked apart) of passages that are not
            kept any more.
        before: under which id those went until now that were united with others already.
        arm: which variant the hash gave any of them first; empty: none.
        now: when it is judged.
    """
    over = moved(plan, passages, person, now=now)
    ended = {one.event.uid for one in over}
    passages = [one for one in passages if one.event.uid not in ended]
    story = _Story(plan, person, entries, before or {}, arm, now)
    begun = {one.event.uid: one for one in sorted(passages, key=lambda one: _order(one.event))}
    story.prepare(begun.values())
    steps: dict[UUID, Occurrence] = {one.uid: one for one in events}
    steps |= {one.event.uid: one.event for one in passages}
    for event in sorted(steps.values(), key=lambda one: _order(one, last=one.uid not in begun)):
        story.tell(event, begun.get(event.uid))
    united = story.ends(begun)
    return replace(united, passages=(*over, *united.passages)) if over else united


def _order(event: Occurrence, *, last: bool = False) -> tuple[datetime, datetime, bool, bytes]:
    # At one instant what was received first came first. Received together nobody knows: then what
    # might stop a message does.
    return event.occur_time, event.receive_time, last, event.uid.bytes


class _Story:
    """What happened so far, and how it leaves the passages."""

    def __init__(
        self,
        plan: Plan,
        person: Person,
        entries: Sequence[tuple[str, datetime, str]],
        before: Mapping[str, str],
        arm: str,
        now: datetime,
    ) -> None:
        self._plan = plan
        self._person = person
        self._entries = entries
        self._before = before
        self._arm = arm
        self._now = now
        self._told: dict[UUID, Enrollment] = {}
        self._refusals: list[Refusal] = []
        # What an event has stopped waited until then: it is told as waiting, and stopped again.
        self._waited: set[UUID] = set()
        # Begun only here: nothing that came later was judged against it yet.
        self._unheard: set[UUID] = set()
        # Of a row of restarts under one id, which share an entry, all but the first.
        self._later: set[UUID] = set()

    def prepare(self, passages: Iterable[Enrollment]) -> None:
        """Hear of all passages, in their order."""
        rows: set[tuple[str, datetime]] = set()
        for passage in passages:
            row = (self._party(passage.origin), passage.entry_time)
            if row in rows:
                self._later.add(passage.event.uid)
            rows.add(row)

    def tell(self, event: Occurrence, passage: Enrollment | None) -> None:
        """Judge an event, and the passage that it began, if it did."""
        restarted = self._except(event)
        entries = [one.entry_time for one in restarted]
        if passage is None:
            # Only in the place of what waits: nothing that was refused begins after all.
            if any(one.state is EnrollmentState.WAITING for one in restarted):
                plan = plan_for(self._plan, restarted[-1])
                self._told[event.uid] = self._enrolled(plan, event, min(entries))
                self._unheard.add(event.uid)
            return
        # Something may have come between it and what it restarted: then it begins anew.
        anew = event.uid in self._later
        if entries:
            own = event.occur_time if anew else passage.entry_time
            others = any(
                self._party(one.origin) != self._party(passage.origin) for one in restarted
            )
            self._keep(passage, min((*entries, own)), restarts=others)
        else:
            self._begin(passage, anew=anew)

    def ends(self, before: dict[UUID, Enrollment]) -> United:
        """Return what has changed."""
        kept = [self._told[uid] for uid in self._told if self._told[uid] is not before.get(uid)]
        return United(tuple(self._gone_out(kept)), tuple(self._refusals))

    def _except(self, event: Occurrence) -> list[Enrollment]:
        """Let an event stop what others had begun; return what it restarts."""
        restarted: list[Enrollment] = []
        party = self._party(event.member or event.profile)
        for uid, passage in self._told.items():
            if uid in self._waited and event.receive_time > passage.gates[-1].time:
                # What stopped it is not among the events any more.
                self._waited.discard(uid)
            waited = uid in self._waited
            # What came under its own id was judged when it came.
            judged = not waited and uid not in self._unheard
            if judged and party == self._party(passage.origin):
                continue
            asked = replace(passage, state=EnrollmentState.WAITING) if waited else passage
            verdict = judge_exception(self._plan, event, self._person, asked, now=self._now)
            if isinstance(verdict, Leave):
                continue
            if isinstance(verdict, Restart):
                restarted.append(passage)
            if not waited:
                self._told[uid] = stopped(passage, verdict.gate)
            self._waited.discard(uid)
        return restarted

    def _enrolled(self, plan: Plan, event: Occurrence, entry_time: datetime) -> Enrollment:
        gates = (passed("filter", "passed", self._now), self._restarts())
        enrolled = enroll(
            plan,
            event,
            actor_of(event),
            self._person,
            gates,
            entry_time=entry_time,
            now=self._now,
            at_once=False,
        )
        enrolled = replace(enrolled, reentry_key=reentry_key_of(plan, event))
        return assign(plan, enrolled, self._person, earlier=self._arm, now=self._now)

    def _keep(self, passage: Enrollment, entry_time: datetime, *, restarts: bool) -> None:
        if restarts and passage.state is EnrollmentState.WAITING:
            passage = replace(passage, gates=(*passage.gates, self._restarts()))
        if entry_time != passage.entry_time:
            passage = replace(passage, entry_time=entry_time)
        self._told[passage.event.uid] = passage
        if passage.state is EnrollmentState.EXITED and passage.gates[-1].name == "exception":
            self._waited.add(passage.event.uid)

    def _begin(self, passage: Enrollment, *, anew: bool) -> None:
        """Judge whether a passage would have begun; `anew`: what it restarted was over by then."""
        at = passage.event.occur_time if anew else passage.entry_time
        last = max(self._others(passage, own=anew), key=lambda one: one[1], default=None)
        if last is not None:
            other, entered = last
            name, holds, detail = reentry(self._plan, at, entered)
            if not holds and passage.state is EnrollmentState.WAITING:
                self._refuse(passage, name, f"united with {other}: {detail}")
                return
            if not holds:
                # It is over, and would not have begun: it had better not count.
                self._told[passage.event.uid] = passage
                return
        crowded = self._crowded(passage)
        if crowded:
            self._refuse(passage, "simultaneous", crowded)
            return
        self._keep(passage, at, restarts=False)

    def _crowded(self, passage: Enrollment) -> str:
        """Say what leaves no room for a passage that waits; '': there is room, or all are its own.

        Its own were asked about when it began.
        """
        if not self._plan.simultaneous_max or passage.state is not EnrollmentState.WAITING:
            return ""
        mine = self._party(passage.origin)
        if all(self._party(one.origin) == mine for one in self._told.values()):
            return ""
        _, holds, detail = simultaneous(self._plan, self._told.values())
        return "" if holds else f"united: {detail}"

    def _others(self, passage: Enrollment, *, own: bool) -> list[tuple[str, datetime]]:
        """Return the entries so far under other ids; its `own` were asked about when it began."""
        entries = [
            (one.origin, one.entry_time, one.reentry_key)
            for one in self._told.values()
            # Who left before she had stayed long enough never entered.
            if not (one.dwelling and one.state is EnrollmentState.EXITED)
        ]
        mine = self._party(passage.origin)
        apart = bool(self._plan.reentry_property)
        return [
            (origin, at)
            for origin, at, value in (*self._entries, *entries)
            if (own or self._party(origin) != mine) and (not apart or value == passage.reentry_key)
        ]

    def _party(self, origin: str) -> str:
        return self._before.get(origin, origin)

    def _restarts(self) -> Gate:
        return passed("exception", "restarts the delay of an earlier one", self._now)

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
                and self._party(one.origin) != self._party(passage.origin)
                and (not self._plan.reentry_property or one.reentry_key == passage.reentry_key)
                and one.entry_time >= passage.entry_time
                and not reentry(self._plan, one.entry_time, passage.entry_time)[1]
            ):
                return one
        return None
