"""What is gathered into which window, what takes it out again, and what is told of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.trigger.model import (
    CalendarWindow,
    DigestContent,
    DigestEffects,
    DigestItem,
    DigestPlan,
    DigestQuestion,
    DigestRecords,
    DigestUndo,
    Enrollment,
    EnrollmentState,
    FixedWindow,
    Gate,
    Key,
    Occurrence,
    Person,
    Plan,
    SlidingWindow,
    WindowSummary,
)
from services.trigger.rules.civil import next_showing
from services.trigger.rules.exceptions import stopped
from services.trigger.rules.gates import passed, refused
from services.trigger.rules.timing import expiry
from services.trigger.rules.versions import plan_for, sent_out
from services.trigger.rules.zones import zone_of

# An instant is not its own next.
_TICK = timedelta(microseconds=1)
# Ids of people and things are shorter; what is longer is told apart by its beginning.
_TEXT_MAX = 256
_ON_THE_WAY = (EnrollmentState.SENDING, EnrollmentState.SENT)


class Gathering:
    """What was gathered, as far as a turn's events may touch it, and how the turn leaves it."""

    def __init__(self, records: DigestRecords) -> None:
        """Take what the store knows."""
        self._items = {(one.key, one.event.uid): one for one in records.items}
        self._undos: dict[Key, list[DigestUndo]] = defaultdict(list)
        for undo in records.undos:
            self._undos[undo.key].append(undo)
        self._heard = frozenset(undo.event.uid for undo in records.undos)
        self._known = frozenset(self._items)
        self._changed: set[tuple[Key, UUID]] = set()
        self._new_undos: list[DigestUndo] = []

    def holds(self, key: Key, event: UUID) -> bool:
        """Say whether an event was gathered before, whatever became of it."""
        return (key, event) in self._items

    def left_in(self, passage: Enrollment) -> list[DigestItem]:
        """Return what is known to be left in a window."""
        return [
            one
            for one in self._items.values()
            if one.key == passage.key and one.window == passage.event.uid and not one.removed
        ]

    def undos(self, key: Key) -> Sequence[DigestUndo]:
        """Return what takes events of a key out."""
        return self._undos[key]

    def put(self, item: DigestItem) -> None:
        """Remember an event that was gathered, or taken out again."""
        self._items[item.key, item.event.uid] = item
        self._changed.add((item.key, item.event.uid))

    def remember(self, undo: DigestUndo) -> None:
        """Remember what takes out what occurred before it and comes later."""
        if all(one.event.uid != undo.event.uid for one in self._undos[undo.key]):
            self._undos[undo.key].append(undo)
            self._new_undos.append(undo)

    def effects(self) -> DigestEffects:
        """Return all that is to be written."""
        changed = [self._items[name] for name in self._items if name in self._changed]
        return DigestEffects(
            added=tuple(one for one in changed if (one.key, one.event.uid) not in self._known),
            removed=tuple(one for one in changed if (one.key, one.event.uid) in self._known),
            undos=tuple(self._new_undos),
            heard=self._heard,
        )


def ask_of_gathering(question: DigestQuestion, plan: Plan, event: Occurrence, key: Key) -> None:
    """Have it asked what an event needs that may be gathered."""
    if plan.digest is None:
        return
    question.adding.add(key)
    if question.since is None or event.occur_time < question.since:
        question.since = event.occur_time


def ask_of_undo(question: DigestQuestion, plan: Plan, event: Occurrence, key: Key) -> None:
    """Have it asked what an event may take back."""
    if plan.digest is None or plan.digest.undo is None:
        return
    if plan.digest.undo.filter is None:
        actor = _text(event, plan.digest.actor_property) or event.profile
        question.undoing.add((key, actor))
    else:
        question.removing.add(key)


def is_urgent(digest: DigestPlan, event: Occurrence, person: Person, now: datetime) -> bool:
    """Say whether an event is not gathered but told at once."""
    return digest.urgent is not None and digest.urgent(event, person, None, now).passed


def key_of(digest: DigestPlan, event: Occurrence) -> str:
    """Return the key under which an event is gathered."""
    return _text(event, digest.key_property)


def is_open(passage: Enrollment, *, now: datetime) -> bool:
    """Say whether a passage is a window that still gathers: once released it stays as it is."""
    return (
        passage.digest_key is not None
        and passage.state is EnrollmentState.WAITING
        and passage.release_time is None
        and now < passage.expire_time
    )


def gather(
    records: Gathering,
    plan: Plan,
    digest: DigestPlan,
    new: Enrollment,
    person: Person,
    *,
    passages: Iterable[Enrollment],
    now: datetime,
) -> Enrollment | Gate:
    """Put an event into the open window of its key, or into a new one.

    Args:
        records: what was gathered before.
        plan: the campaign.
        digest: how it gathers.
        new: the passage of the event, which becomes the window where none is open.
        person: the recipient.
        passages: hers through the campaign that have not ended.
        now: when it is judged.

    Returns:
        The window as it is to stand; or the gate that refused the event.
    """
    event = new.event
    item = DigestItem(
        key=new.key,
        window=event.uid,
        event=event,
        actor=_text(event, digest.actor_property) or event.profile,
        object=_text(event, digest.object_property),
        member=new.member,
        broadcast=new.broadcast,
    )
    for known in records.undos(item.key):
        # At the same instant the order of the log decides: the undoing came before.
        later = event.occur_time < known.event.occur_time
        if later and _undoes(digest, known, item, person, now):
            return refused("digest", _taken(known.event), now)
    open_ = [
        one
        for one in passages
        if one.digest_key == new.digest_key and is_open(one, now=now) and not sent_out(plan, one)
    ]
    if open_:
        window = min(open_, key=lambda one: (one.due_time, one.event.uid))
        records.put(replace(item, window=window.event.uid))
        return _joined(plan_for(plan, window), window, event)
    records.put(item)
    zone = zone_of(person, plan.settings)
    due = max(_due(digest, event, zone), now)
    opened = passed("digest", f"gathers until {due.isoformat()}", now)
    return timed(replace(new, time_zone=zone, gates=(*new.gates, opened)), plan, due)


def timed(window: Enrollment, plan: Plan, due: datetime) -> Enrollment:
    """Return a window that is flushed at `due`."""
    return replace(window, due_time=due, wake_time=due, expire_time=expiry(plan, due))


def undo(
    records: Gathering,
    digest: DigestPlan,
    event: Occurrence,
    key: Key,
    person: Person,
    *,
    member: str,
    passages: Iterable[Enrollment],
    now: datetime,
) -> list[Enrollment]:
    """Take out what an event undoes; return the windows that it concerned.

    It takes back what did not occur after it, whichever of the two comes first, as long as the
    window gathers.
    """
    undoing = DigestUndo(
        key=key,
        event=event,
        actor=_text(event, digest.actor_property) or event.profile,
        object=_text(event, digest.object_property),
        member=member,
    )
    records.remember(undoing)
    windows = [one for one in passages if is_open(one, now=now)]
    for window in windows:
        for item in records.left_in(window):
            before = item.event.occur_time <= event.occur_time
            if before and _undoes(digest, undoing, item, person, now):
                records.put(replace(item, removed=_taken(event), remove_time=now))
    # All of them, also those that nothing was taken out of: what another turn gathers at the same
    # time must be judged with this.
    return windows


def except_window(
    records: Gathering,
    plan: Plan,
    event: Occurrence,
    person: Person,
    window: Enrollment,
    *,
    now: datetime,
) -> Enrollment | None:
    """Apply an exception to a window; return it as it is to stand, None: it is not concerned.

    As long as the window gathers, each of its events is taken out that the exception would have
    stopped alone. Once it is released it stands or falls as a whole: it is stopped when nothing
    would be left of it.
    """
    gone = window.state not in (EnrollmentState.WAITING, *_ON_THE_WAY) or now >= window.expire_time
    if gone or sent_out(plan, window):
        return None
    plan = plan_for(plan, window)
    left = records.left_in(window)
    out = [one for one in left if _excepted(plan, event, person, one.event, now)]
    seen = f"{event.type} {event.event_id} occurred"
    if is_open(window, now=now):
        for item in out:
            records.put(replace(item, removed=seen, remove_time=now))
        return window
    if left and len(out) == len(left):
        return stopped(window, refused("exception", seen, now))
    return None


def summary_gate(window: WindowSummary, *, now: datetime) -> Gate:
    """Return whether anything is left to be told."""
    seen = f"{window.count} gathered"
    if window.removed_count:
        seen = f"{seen}, {window.removed_count} taken back"
    return (passed if window.count else refused)("digest", seen, now)


def summary_of(items: Iterable[DigestItem]) -> WindowSummary:
    """Return what is left of some events of a window."""
    every = list(items)
    left = [one.event for one in every if not one.removed]
    return WindowSummary(len(left), max(left, key=_order, default=None), len(every) - len(left))


@dataclass(frozen=True, slots=True)
class Group:
    """What happened to one object, the latest first."""

    object: str
    count: int
    actors: tuple[DigestItem, ...]
    """The latest item of each of those who are told."""
    actor_count: int

    @property
    def other_count(self) -> int:
        """How many acted besides the first."""
        return max(0, self.actor_count - 1)


def groups_of(content: DigestContent) -> list[Group]:
    """Return what is told, by object; of an object of which nothing is told, nothing."""
    tallies = {one.object: one for one in content.tallies}
    by_object: dict[str, dict[str, DigestItem]] = {}
    for item in content.latest:
        by_object.setdefault(item.object, {}).setdefault(item.actor, item)
    return [
        Group(object_, tallies[object_].count, tuple(actors.values()), tallies[object_].actor_count)
        for object_, actors in by_object.items()
    ]


def waits_on(plan: Plan, passage: Enrollment, zone: str, *, now: datetime) -> Enrollment | None:
    """Return the window as it waits on whose recipient has gone to a zone where it is earlier.

    None: it does not. Never shorter than it was to: what is due is due by the clock she had.
    """
    digest = plan.digest
    if digest is None or not isinstance(digest.window, CalendarWindow):
        return None
    if passage.digest_key is None or passage.release_time is not None or zone == passage.time_zone:
        return None
    due = _due(digest, passage.event, zone)
    if due <= now:
        return None
    later = refused("digest", f"in {zone} by now; waits until {due.isoformat()}", now)
    return timed(replace(passage, time_zone=zone, gates=(*passage.gates, later)), plan, due)


def _joined(plan: Plan, window: Enrollment, event: Occurrence) -> Enrollment:
    if plan.digest is None or not isinstance(plan.digest.window, SlidingWindow):
        return window
    last = window.event.receive_time + plan.digest.window.most
    due = min(last, event.receive_time + plan.digest.window.pause)
    return timed(window, plan, due) if due > window.due_time else window


def _due(digest: DigestPlan, event: Occurrence, zone: str) -> datetime:
    # From when it was received: what comes late opens the next window, not one of the past.
    match digest.window:
        case FixedWindow(length):
            return event.receive_time + length
        case SlidingWindow(pause, most):
            return event.receive_time + min(pause, most)
        case CalendarWindow(wanted):
            due = next_showing(wanted, event.receive_time + _TICK, zone)
            # A zone that left out every such day of a fortnight: told when it is reckoned.
            return due or event.receive_time


def _undoes(
    digest: DigestPlan, undoing: DigestUndo, item: DigestItem, person: Person, now: datetime
) -> bool:
    if digest.undo is None:
        return False
    if digest.undo.filter is None:
        return (item.actor, item.object) == (undoing.actor, undoing.object)
    return digest.undo.filter(undoing.event, person, item.event, now).passed


def _excepted(
    plan: Plan, event: Occurrence, person: Person, item: Occurrence, now: datetime
) -> bool:
    return (
        event.uid != item.uid
        and event.occur_time >= item.occur_time
        and any(
            rule.hears(event)
            and (rule.filter is None or rule.filter(event, person, item, now).passed)
            for rule in plan.exceptions
        )
    )


def _taken(event: Occurrence) -> str:
    return f"{event.type} {event.event_id} takes it back"


def _order(event: Occurrence) -> tuple[datetime, bytes]:
    return event.occur_time, event.uid.bytes


def _text(event: Occurrence, name: str) -> str:
    """Return a property as the text that events are told apart by."""
    value = event.properties.get(name) if name else None
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        # JSON makes no difference between 7 and 7.0.
        value = int(value)
    return str(value)[:_TEXT_MAX]


@dataclass(frozen=True, slots=True)
class Regrouped:
    """How windows stand, and what is in which, when their recipients turn out to be others."""

    windows: tuple[Enrollment, ...]
    """Those that begin, and those that are over."""
    items: tuple[DigestItem, ...]


def regroup(
    windows: Iterable[Enrollment],
    items: Iterable[tuple[DigestItem, Enrollment]],
    *,
    now: datetime,
) -> Regrouped:
    """Give every recipient one window of a key, with all that was gathered for her.

    Of several, the one that is due first stays. Who has none gets one like the one that her events
    were in.

    Args:
        windows: that gather, under the ids that their people go by now.
        items: what they held, under the ids that its recipients go by now, with the window that it
            was in.
        now: when.
    """
    ended: list[Enrollment] = []
    begun: list[Enrollment] = []
    kept: dict[tuple[Key, str | None], Enrollment] = {}
    for window in sorted(windows, key=lambda one: (one.due_time, one.event.uid)):
        first = kept.setdefault((window.key, window.digest_key), window)
        if first is not window:
            seen = f"told with {first.event.event_id} of the same person"
            ended.append(stopped(window, refused("digest", seen, now)))
    told: dict[tuple[Key, UUID], DigestItem] = {}
    for item, before in sorted(items, key=lambda one: (one[0].event.occur_time, one[0].removed)):
        place = item.key, before.digest_key
        if place not in kept:
            kept[place] = replace(
                before,
                key=item.key,
                event=item.event,
                member=item.member,
                broadcast=item.broadcast,
                entry_time=item.event.occur_time,
                decide_time=now,
                revision=0,
            )
            begun.append(kept[place])
        told.setdefault((item.key, item.event.uid), replace(item, window=kept[place].event.uid))
    return Regrouped((*ended, *begun), tuple(told.values()))
