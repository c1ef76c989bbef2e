"""Makes sure that people who turn out to be one are judged as if they had been one all along.

The same events are told twice: under three ids that are united at some point, and under one id
from the start. What waits in the end must be the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from services.trigger.convert.events import named
from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Key,
    Occurrence,
    Person,
    Plan,
    Seen,
)
from services.trigger.rules import Ledger, United, judge_event, make_book, unite
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

WAITING = EnrollmentState.WAITING
SENT, SENDING, EXITED = EnrollmentState.SENT, EnrollmentState.SENDING, EnrollmentState.EXITED
DELAY = timedelta(hours=1)
BOUGHT = ExceptionRule("order_placed")
SAME_ORDER = ExceptionRule(
    "order_placed",
    lambda event, _, trigger, __: Seen(
        trigger is not None and event.properties["order"] == trigger.properties["order"], ""
    ),
)
DEBOUNCED = ExceptionRule("cart_filled")


class Step(NamedTuple):
    """One event."""

    who: str
    type: str
    after: int
    """Seconds since the one before."""
    order: int


STEPS = st.lists(
    st.builds(
        Step,
        who=st.sampled_from(["a1", "a2", "ana"]),
        type=st.sampled_from(["cart_filled", "order_placed", "page_viewed"]),
        after=st.integers(0, 2),
        order=st.integers(1, 2),
    ),
    max_size=12,
)
Unions = Mapping[str, int]
"""After how many events each is one with ana."""
UNIONS = st.fixed_dictionaries({"a1": st.integers(0, 12), "a2": st.integers(0, 12)})
EXCEPTIONS = st.sampled_from(
    [(), (BOUGHT,), (SAME_ORDER,), (DEBOUNCED,), (DEBOUNCED, BOUGHT), (DEBOUNCED, SAME_ORDER)]
)


def told(steps: Sequence[Step]) -> list[Occurrence]:
    """Return the events, each received a moment after the one before."""
    events: list[Occurrence] = []
    at = NOW
    for number, step in enumerate(steps):
        at += timedelta(seconds=step.after)
        events.append(
            an_occurrence(
                step.type,
                event_id=f"e{number}",
                profile=step.who,
                at=at,
                received=at + timedelta(microseconds=number),
                order=step.order,
            )
        )
    return events


class World:
    """Passages of two ids, told as turns of the worker tell them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger((), {})
        self.heard: list[Occurrence] = []
        self.united: set[str] = set()

    def tell(self, event: Occurrence) -> None:
        self.heard.append(event)
        people = {event.profile: self.person(event.profile)}
        judge_event(self.ledger, make_book([self.plan]), event, people, now=event.receive_time)

    def person(self, who: str) -> Person:
        times: dict[str, datetime] = {}
        for event in self.heard:
            if event.profile == who:
                times[event.type] = max(event.occur_time, times.get(event.type, event.occur_time))
        return a_person(who, last_times=times)

    def unite(self, who: str, now: datetime) -> United:
        """Make somebody one with `ana`, as the worker does."""
        passages = [
            *self.ledger.passages(self.plan.key("ana")),
            *map(under_ana, self.ledger.passages(self.plan.key(who))),
        ]
        self.heard = [named(one, "ana") if one.profile == who else one for one in self.heard]
        types = {rule.event_type for rule in self.plan.exceptions}
        found = [one for one in self.heard if one.type in types and one.profile == "ana"]
        united = unite(
            self.plan,
            passages,
            found,
            self.person("ana"),
            before=dict.fromkeys(self.united, "ana"),
            now=now,
        )
        self.united.add(who)
        kept = {one.event.uid: one for one in passages}
        kept |= {one.event.uid: one for one in united.passages}
        for refusal in united.refusals:
            del kept[refusal.event.uid]
        others = [
            one
            for each in ("a1", "a2")
            if each not in self.united
            for one in self.ledger.passages(self.plan.key(each))
        ]
        told = [*kept.values(), *others]
        self.ledger = Ledger(told, entries_of(told))
        return united

    @property
    def waiting(self) -> set[tuple[str, datetime]]:
        """What waits for ana, with when she entered."""
        return {
            (one.event.event_id, one.entry_time)
            for one in self.ledger.passages(self.plan.key("ana"))
            if one.state is WAITING
        }


def under_ana(passage: Enrollment) -> Enrollment:
    return replace(passage, key=passage.key._replace(profile="ana"), member=passage.key.profile)


def entries_of(passages: Iterable[Enrollment]) -> dict[Key, datetime]:
    found: dict[Key, datetime] = {}
    for one in passages:
        found[one.key] = max(one.entry_time, found.get(one.key, one.entry_time))
    return found


def told_apart(plan: Plan, events: Sequence[Occurrence], unions: Unions) -> World:
    world = World(plan)
    for number, event in enumerate([*events, None]):
        for who in ("a1", "a2"):
            if min(unions[who], len(events)) == number:
                world.unite(who, events[number - 1].receive_time if number else NOW)
        if event is not None:
            world.tell(named(event, "ana") if event.profile in world.united else event)
    return world


def told_as_one(plan: Plan, events: Sequence[Occurrence]) -> World:
    world = World(plan)
    for event in events:
        world.tell(replace(event, profile="ana"))
    return world


@example(  # The cart of the anonymous visitor, bought under her name, identified later.
    steps=[Step("a1", "cart_filled", 0, 1), Step("ana", "order_placed", 1, 1)],
    exceptions=(BOUGHT,),
    interval=None,
    unions={"a1": 2, "a2": 2},
)
@example(  # The later of two ids entered first.
    steps=[Step("ana", "cart_filled", 0, 1), Step("a1", "cart_filled", 0, 1)],
    exceptions=(DEBOUNCED,),
    interval=None,
    unions={"a1": 2, "a2": 2},
)
@given(
    steps=STEPS,
    exceptions=EXCEPTIONS,
    interval=st.sampled_from([None, timedelta(0)]),
    unions=UNIONS,
)
def test_what_waits_in_the_end_is_as_if_they_had_been_one_all_along(
    steps: list[Step],
    exceptions: tuple[ExceptionRule, ...],
    interval: timedelta | None,
    unions: Unions,
) -> None:
    plan = a_plan(delay=DELAY, exceptions=exceptions, reentry_interval=interval)
    events = told(steps)

    apart = told_apart(plan, events, unions)

    assert apart.waiting == told_as_one(plan, events).waiting


@given(steps=STEPS, exceptions=EXCEPTIONS, seconds=st.integers(1, 5), unions=UNIONS)
def test_nobody_waits_twice_within_the_interval_after_a_union(
    steps: list[Step], exceptions: tuple[ExceptionRule, ...], seconds: int, unions: Unions
) -> None:
    """What was refused stays refused, so less may wait than if they had been one: never more."""
    interval = timedelta(seconds=seconds)
    plan = a_plan(delay=DELAY, exceptions=exceptions, reentry_interval=interval)
    events = told(steps)

    apart = told_apart(plan, events, unions)

    entered = sorted(entry for _, entry in apart.waiting)
    assert all(later - earlier >= interval for earlier, later in pairwise(entered))


@given(steps=STEPS, exceptions=EXCEPTIONS, interval=st.sampled_from([None, timedelta(0)]))
def test_uniting_again_changes_nothing(
    steps: list[Step], exceptions: tuple[ExceptionRule, ...], interval: timedelta | None
) -> None:
    plan = a_plan(delay=DELAY, exceptions=exceptions, reentry_interval=interval)
    events = told(steps)
    world = told_apart(plan, events, {"a1": len(events), "a2": 0})
    before = world.waiting

    again = world.unite("a1", NOW)

    assert again == United()
    assert world.waiting == before


def a_passage(event: Occurrence, plan: Plan, state: EnrollmentState) -> Enrollment:
    world = World(plan)
    world.tell(replace(event, profile="ana", member=""))
    [passage] = world.ledger.passages(plan.key("ana"))
    member = "" if event.profile == "ana" else event.profile
    return replace(passage, state=state, member=member)


def test_what_has_gone_out_stays_out() -> None:
    plan = a_plan(delay=DELAY)
    first, second = told([Step("a1", "cart_filled", 0, 1), Step("ana", "cart_filled", 1, 1)])
    passages = [a_passage(first, plan, SENT), a_passage(second, plan, SENT)]

    assert unite(plan, passages, [], a_person(), now=NOW) == United()


def test_who_got_it_under_another_id_does_not_get_it_again() -> None:
    plan = a_plan(delay=DELAY)
    first, second = told([Step("a1", "cart_filled", 0, 1), Step("ana", "cart_filled", 1, 1)])
    passages = [a_passage(first, plan, WAITING), a_passage(second, plan, SENDING)]

    united = unite(plan, passages, [], a_person(), now=NOW)

    [ended] = united.passages
    assert (ended.event.event_id, ended.state) == ("e0", EXITED)
    assert ended.gates[-1].detail == "united with ana, who got it for e1"


def test_a_message_on_its_way_is_called_back_by_what_the_other_id_did() -> None:
    plan = a_plan(exceptions=(BOUGHT,))
    cart, order = told([Step("a1", "cart_filled", 0, 1), Step("ana", "order_placed", 1, 1)])
    passages = [a_passage(cart, plan, SENT)]

    united = unite(plan, passages, [order], a_person(), now=NOW)

    assert [one.state for one in united.passages] == [EnrollmentState.CANCELING]


def test_an_entry_that_is_not_kept_any_more_still_counts() -> None:
    plan = a_plan(delay=DELAY)
    [cart] = told([Step("a1", "cart_filled", 0, 1)])
    entered = [("ana", NOW - timedelta(days=100), "")]

    united = unite(plan, [a_passage(cart, plan, WAITING)], [], a_person(), entries=entered, now=NOW)

    [refusal] = united.refusals
    assert refusal.gates[-1].name == "reentry"
    assert refusal.gates[-1].detail.startswith("united with ana: once only; entered at")
