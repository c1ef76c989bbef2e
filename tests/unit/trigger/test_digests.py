"""Holds windows against a naive reference, and the rules of what is told to their word."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.ids import event_uid
from services.trigger.convert.digests import DATA_BYTES_MAX, digest_json
from services.trigger.model import (
    CalendarWindow,
    DigestContent,
    DigestItem,
    DigestPlan,
    DigestRecords,
    Enrollment,
    EnrollmentState,
    FixedWindow,
    LocalTime,
    ObjectTally,
    Occurrence,
    Plan,
    Release,
    SlidingWindow,
    UndoRule,
    WaitOn,
)
from services.trigger.rules import Ledger, judge_event, judge_release, make_book, summary_of
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

MINUTE = timedelta(minutes=1)
PHOTOS, FANS = ("p1", "p2"), ("bob", "eve", "joe")


def likes(window: Any = FixedWindow(10 * MINUTE), **given: Any) -> Plan:  # noqa: B008 — a value
    digest = DigestPlan(
        window=window, undo=UndoRule("unliked"), actor_property="by", object_property="photo"
    )
    return a_plan(
        trigger_type="liked", digest=digest, max_trigger_lateness=timedelta(hours=1), **given
    )


@dataclass
class World:
    """The real rules, with a store that a few lists make."""

    plan: Plan
    passages: dict[Any, Enrollment] = field(default_factory=dict)
    items: dict[Any, DigestItem] = field(default_factory=dict)
    undos: list[Any] = field(default_factory=list)
    told: list[list[str]] = field(default_factory=list)

    def happens(self, event: Occurrence, now: datetime) -> None:
        records = DigestRecords(list(self.items.values()), self.undos)
        ledger = Ledger(self.passages.values(), {}, digests=records)
        judge_event(ledger, make_book([self.plan]), event, {"ana": a_person()}, now=now)
        effects = ledger.effects()
        for passage in effects.enrollments:
            self.passages[passage.event.uid] = replace(passage, revision=passage.revision + 1)
        for item in (*effects.digests.added, *effects.digests.removed):
            self.items[item.event.uid] = item
        self.undos += effects.digests.undos

    def flush(self, now: datetime) -> None:
        for passage in sorted(self.passages.values(), key=lambda one: one.event.uid.bytes):
            if passage.state is not EnrollmentState.WAITING or (passage.wake_time or now) > now:
                continue
            held = [one for one in self.items.values() if one.window == passage.event.uid]
            verdict = judge_release(
                self.plan, passage, a_person(), now=now, window=summary_of(held)
            )
            if isinstance(verdict, Release):
                left = [one for one in held if not one.removed]
                self.told.append(sorted(one.event.event_id for one in left))
                after = verdict.enrollment
            else:
                after = replace(passage, state=EnrollmentState.EXITED)
            self.passages[passage.event.uid] = after


@dataclass
class Naive:
    """What should come of it, by reading the history from the start each time."""

    window: FixedWindow | SlidingWindow
    seen: set[str] = field(default_factory=set)
    undone: list[tuple[str, str, datetime]] = field(default_factory=list)
    open: list[tuple[str, str, str, datetime]] = field(default_factory=list)
    begun: datetime | None = None
    due: datetime | None = None
    told: list[list[str]] = field(default_factory=list)

    def likes(self, name: str, by: str, photo: str, at: datetime, now: datetime) -> None:
        if name in self.seen:
            return
        if any((by, photo) == (b, p) and at < when for b, p, when in self.undone):
            return
        self.seen.add(name)
        if self.begun is None:
            self.begun = now
            length = self.window.length if isinstance(self.window, FixedWindow) else None
            self.due = now + (length or min(self.window.pause, self.window.most))  # type: ignore[union-attr]
        elif isinstance(self.window, SlidingWindow):
            assert self.due is not None
            last = self.begun + self.window.most
            self.due = max(self.due, min(last, now + self.window.pause))
        self.open.append((name, by, photo, at))

    def unlikes(self, by: str, photo: str, at: datetime) -> None:
        self.undone.append((by, photo, at))
        self.open = [one for one in self.open if (one[1], one[2]) != (by, photo) or one[3] > at]

    def flush(self, now: datetime) -> None:
        if self.due is not None and self.due <= now:
            if self.open:
                self.told.append(sorted(one[0] for one in self.open))
            self.begun = self.due = None
            self.open = []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["like", "like", "like", "unlike", "again", "flush"]),
        st.sampled_from(FANS),
        st.sampled_from(PHOTOS),
        st.integers(0, 5),
        st.integers(0, 8),
    ),
    max_size=40,
)
WINDOWS = st.one_of(
    st.integers(1, 9).map(lambda n: FixedWindow(n * MINUTE)),
    st.tuples(st.integers(1, 6), st.integers(0, 9)).map(
        lambda n: SlidingWindow(n[0] * MINUTE, (n[0] + n[1]) * MINUTE)
    ),
)


@settings(max_examples=300)
@given(steps=STEPS, window=WINDOWS)
def test_windows_tell_what_a_naive_reference_tells(
    steps: Sequence[tuple[str, str, str, int, int]], window: FixedWindow | SlidingWindow
) -> None:
    world, naive = World(likes(window)), Naive(window)
    now = NOW
    numbers = count()
    known: list[Occurrence] = []
    for what, by, photo, late, passes in (*steps, ("flush", "bob", "p1", 0, 60)):
        now += passes * MINUTE
        at = now - late * MINUTE
        name = f"e{next(numbers)}"
        match what:
            case "like" | "unlike":
                event = an_occurrence(
                    "liked" if what == "like" else "unliked",
                    event_id=name,
                    at=at,
                    received=now,
                    by=by,
                    photo=photo,
                )
                world.happens(event, now)
                if what == "like":
                    known.append(event)
                    naive.likes(name, by, photo, at, now)
                else:
                    naive.unlikes(by, photo, at)
            case "again" if known:
                old = known[late % len(known)]
                again = replace(old, receive_time=max(now, old.occur_time))
                if now - old.occur_time <= timedelta(hours=1):
                    world.happens(again, now)
                    naive.likes(
                        old.event_id,
                        old.properties["by"],
                        old.properties["photo"],
                        old.occur_time,
                        now,
                    )
            case _:
                world.flush(now)
                naive.flush(now)
    assert world.told == naive.told
    told = [one for message in world.told for one in message]
    assert len(told) == len(set(told))


def test_who_moved_west_is_told_on_monday_by_her_new_clock() -> None:
    plan = likes(CalendarWindow(LocalTime(9 * 60, frozenset({1}))))
    world = World(plan)
    world.happens(an_occurrence("liked", event_id="a", by="bob"), NOW)
    [window] = world.passages.values()
    nine = datetime(2026, 3, 2, 9, tzinfo=UTC)
    moved = replace(a_person(), time_zone="America/New_York")

    verdict = judge_release(plan, window, moved, now=nine, window=summary_of(world.items.values()))

    assert window.due_time == nine
    assert isinstance(verdict, WaitOn)
    assert verdict.enrollment.due_time == nine + timedelta(hours=5)


@given(st.integers(0, 60), st.integers(0, 40_000), st.integers(1_000, DATA_BYTES_MAX))
@settings(max_examples=50)
def test_what_is_told_fits_and_all_is_counted(items: int, size: int, room: int) -> None:
    latest = [an_item(f"e{one}", "x" * size) for one in range(items)]
    content = DigestContent([ObjectTally("", 1000, 14)] if items else [], latest)

    encoded = digest_json(content, room)

    digest = msgspec.json.decode(encoded)
    assert len(encoded) <= room or not digest["items"]
    assert digest["count"] == (1000 if items else 0)
    for group in digest["groups"]:
        assert (group["actor_count"], group["other_count"]) == (14, 13)


def an_item(name: str, text: str) -> DigestItem:
    event = an_occurrence("liked", event_id=name)
    raw = msgspec.json.encode({"text": text})
    return DigestItem(
        key=a_plan().key("ana"),
        window=event_uid("acme", "first"),
        event=replace(event, properties_json=raw),
        actor=name,
        object="",
    )
