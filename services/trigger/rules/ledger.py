"""Judges events one after another against what is known and what the turn itself has changed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.trigger.model import (
    NO_DIGESTS,
    Assignment,
    Conversion,
    DigestPlan,
    DigestRecords,
    Effects,
    Enrollment,
    EnrollmentState,
    Enter,
    Gate,
    History,
    Key,
    Leave,
    Occurrence,
    Person,
    Plan,
    RecipientKind,
    Refusal,
    Refuse,
    Restart,
    Stop,
    Telling,
)
from services.trigger.rules.books import Book
from services.trigger.rules.digests import Gathering, except_window, gather, undo
from services.trigger.rules.exceptions import judge_exception, stopped
from services.trigger.rules.gates import passed
from services.trigger.rules.goals import judge_goals, reached_before
from services.trigger.rules.recipients import Recipient, actor_of, recipients_of
from services.trigger.rules.reentry import reentry_key_of
from services.trigger.rules.replanning import planned_anew
from services.trigger.rules.triggers import enroll, judge_telling, judge_trigger
from services.trigger.rules.variants import assign, assignment_of
from services.trigger.rules.versions import plan_for


class Ledger:
    """The passages that a turn's events may touch, and how the turn leaves them."""

    def __init__(
        self,
        known: Iterable[Enrollment],
        last_entries: Mapping[Key, datetime],
        history: History | None = None,
        digests: DigestRecords = NO_DIGESTS,
    ) -> None:
        """Take what the store knows of every key that the events may touch."""
        self._passages: dict[Key, dict[UUID, Enrollment]] = {}
        self._last_entries = dict(last_entries)
        self._history = history or History()
        self._entries = dict(self._history.entries)
        self._assigned = dict(self._history.assigned)
        self._assignments: list[Assignment] = []
        self._conversions: dict[tuple[Key, UUID, str], Conversion] = {}
        self._changed: dict[tuple[Key, UUID], Enrollment] = {}
        self._refusals: list[Refusal] = []
        self._tellings: list[Telling] = []
        self.gathering = Gathering(digests)
        for passage in known:
            self._passages.setdefault(passage.key, {})[passage.event.uid] = passage

    def passages(self, key: Key) -> list[Enrollment]:
        """Return the passages of a key that are known, ended ones too."""
        return list(self._passages.get(key, {}).values())

    def past(self, key: Key) -> list[Enrollment]:
        """Return the passages of a key that may reach a goal yet."""
        ended = {one.event.uid: one for one in self._history.passages if one.key == key}
        return list((ended | self._passages.get(key, {})).values())

    def last_entry(self, key: Key, value: str | None = None) -> datetime | None:
        """Return the latest entry, of all time; only those for a value where one is given."""
        last = self._last_entries.get(key) if value is None else self._entries.get((key, value))
        dwelling = (
            one.entry_time
            for one in self._passages.get(key, {}).values()
            if one.dwelling
            and one.state is EnrollmentState.WAITING
            and value in (None, one.reentry_key)
        )
        return max((*dwelling, *(() if last is None else (last,))), default=None)

    def assigned(self, key: Key) -> str:
        """Return which arm somebody was given first; empty: none yet."""
        return self._assigned.get(key, "")

    def begin(self, plan: Plan, passage: Enrollment, person: Person) -> None:
        """Remember a passage that begins, and what that means for variants and goals."""
        self.put(passage)
        assignment = assignment_of(plan, passage)
        if assignment is not None and passage.key not in self._assigned:
            self._assigned[passage.key] = assignment.variant
            self._assignments.append(assignment)
        for conversion in reached_before(plan, passage, person):
            self.convert(conversion)

    def convert(self, conversion: Conversion) -> None:
        """Remember that a passage has reached a goal: once each."""
        name = (conversion.key, conversion.event_uid, conversion.goal)
        self._conversions.setdefault(name, conversion)

    def put(self, passage: Enrollment) -> None:
        """Remember a passage that began or changed."""
        self._passages.setdefault(passage.key, {})[passage.event.uid] = passage
        self._changed[passage.key, passage.event.uid] = passage
        if passage.digest_key is not None or passage.dwelling:
            # Re-entry does not apply to what is gathered; who may leave yet has not entered.
            return
        last = self._last_entries.get(passage.key)
        if last is None or passage.entry_time > last:
            self._last_entries[passage.key] = passage.entry_time
        valued = (passage.key, passage.reentry_key)
        self._entries[valued] = max(
            self._entries.get(valued, passage.entry_time), passage.entry_time
        )

    def refuse(self, refusal: Refusal) -> None:
        """Remember an event that began nothing."""
        self._refusals.append(refusal)

    def tell(self, telling: Telling) -> None:
        """Remember an event that is to be told to all who are related."""
        self._tellings.append(telling)

    def effects(self) -> Effects:
        """Return all that is to be written."""
        return Effects(
            tuple(self._changed.values()),
            tuple(self._refusals),
            tellings=tuple(self._tellings),
            assignments=tuple(self._assignments),
            conversions=tuple(self._conversions.values()),
            digests=self.gathering.effects(),
        )


def judge_event(
    ledger: Ledger,
    book: Book,
    event: Occurrence,
    people: Mapping[str, Person],
    *,
    now: datetime,
) -> None:
    """Judge an event: first as a goal and an exception of what there is, then as a trigger.

    So an event that is both restarts what waits, or stops it and begins anew where
    re-entry lets it; it never stops what it began itself. `people` holds the event's
    profile and every recipient it names, by the id named and by the id the person goes by.
    """
    for plan in book.aimed_at(event):
        passages = ledger.past(plan.key(event.profile))
        for conversion in judge_goals(plan, event, people[event.profile], passages, now=now):
            ledger.convert(conversion)
    restarted = {
        plan.campaign
        for plan in book.stopped_by(event)
        if _except(ledger, plan, event, people, now)
    }
    for plan in book.undone_by(event):
        _undo(ledger, plan, event, people, now)
    for plan in book.begun_by(event):
        if plan.campaign not in restarted:
            _trigger(ledger, plan, event, people, now)


def _except(
    ledger: Ledger, plan: Plan, event: Occurrence, people: Mapping[str, Person], now: datetime
) -> bool:
    """Apply an exception; say whether it restarted a delay."""
    entries: list[datetime] = []
    gate: Gate | None = None
    judging = plan
    for passage in ledger.passages(plan.key(event.profile)):
        if passage.digest_key is not None:
            person = people[event.profile]
            window = except_window(ledger.gathering, plan, event, person, passage, now=now)
            if window is not None:
                ledger.put(window)
            continue
        match judge_exception(plan, event, people[event.profile], passage, now=now):
            case Leave():
                pass
            case Stop(reason):
                ledger.put(stopped(passage, reason))
            case Restart(reason):
                entries.append(passage.entry_time)
                gate = reason
                # She goes on by the version that she went by.
                judging = plan_for(plan, passage)
                ledger.put(stopped(passage, reason))
    if gate is None:
        return False
    seen = "restarts the delay of an earlier one"
    gates = (passed("filter", "passed", now), passed("exception", seen, now))
    person = people[event.profile]
    restarted = enroll(
        judging,
        event,
        actor_of(event),
        person,
        gates,
        entry_time=min(entries),
        now=now,
        # The campaign may be paused or over: the timer asks.
        at_once=False,
    )
    restarted = replace(restarted, reentry_key=reentry_key_of(plan, event))
    # What tells variants apart may be the event: it is asked of the one that counts by now.
    restarted = assign(plan, restarted, person, earlier=ledger.assigned(restarted.key), now=now)
    ledger.begin(plan, restarted, person)
    return True


def _undo(
    ledger: Ledger, plan: Plan, event: Occurrence, people: Mapping[str, Person], now: datetime
) -> None:
    for recipient in recipients_of(plan, event, people):
        person = people.get(recipient.profile)
        if plan.digest is None or person is None or not recipient.profile:
            continue
        key = plan.key(recipient.profile)
        for window in undo(
            ledger.gathering,
            plan.digest,
            event,
            key,
            person,
            member=recipient.member,
            passages=ledger.passages(key),
            now=now,
        ):
            ledger.put(window)


def _trigger(
    ledger: Ledger, plan: Plan, event: Occurrence, people: Mapping[str, Person], now: datetime
) -> None:
    if plan.recipient is RecipientKind.RELATION:
        refused = judge_telling(plan, event, now=now)
        if refused is None:
            ledger.tell(Telling(plan.campaign, event))
        else:
            ledger.refuse(refused.refusal)
        return
    for recipient in recipients_of(plan, event, people):
        begin(ledger, plan, event, recipient, people.get(recipient.profile), now=now)


def begin(
    ledger: Ledger,
    plan: Plan,
    event: Occurrence,
    recipient: Recipient,
    person: Person | None,
    *,
    now: datetime,
    broadcast: UUID | None = None,
) -> None:
    """Judge whether an event begins a passage of one recipient."""
    key = plan.key(recipient.profile)
    passages = ledger.passages(key)
    known = any(passage.event.uid == event.uid for passage in passages)
    if known or ledger.gathering.holds(key, event.uid):
        # An event id that came again after it was forgotten elsewhere: it has had its passage.
        return
    if plan.date is not None and person is not None:
        for over in planned_anew(plan, event, passages, person, now=now):
            ledger.put(over)
        passages = ledger.passages(key)
    verdict = judge_trigger(
        plan,
        event,
        recipient,
        person,
        passages=passages,
        last_entry=ledger.last_entry(
            key, reentry_key_of(plan, event) if plan.reentry_property else None
        ),
        arm=ledger.assigned(key),
        now=now,
    )
    match verdict:
        case Enter(enrollment):
            assert person is not None, "nobody enters"
            passage = enrollment
            if broadcast is not None:
                passage = replace(enrollment, broadcast=broadcast)
            if passage.digest_key is not None and plan.digest is not None:
                _gather(ledger, plan, plan.digest, passage, person)
                return
            ledger.begin(plan, passage, person)
        case Refuse(refusal):
            ledger.refuse(refusal if broadcast is None else replace(refusal, broadcast=broadcast))


def _gather(
    ledger: Ledger, plan: Plan, digest: DigestPlan, passage: Enrollment, person: Person
) -> None:
    now = passage.decide_time
    found = gather(
        ledger.gathering,
        plan,
        digest,
        passage,
        person,
        passages=ledger.passages(passage.key),
        now=now,
    )
    if isinstance(found, Gate):
        ledger.refuse(
            Refusal(
                passage.key,
                passage.event,
                (*passage.gates, found),
                now,
                plan.version,
                passage.member,
                passage.broadcast,
            )
        )
    elif found.event.uid == passage.event.uid:
        ledger.begin(plan, found, person)
    else:
        ledger.put(found)
