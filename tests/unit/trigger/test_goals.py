"""Makes sure of which goals count, in whichever order the log has what happened."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.trigger.model import (
    Conversion,
    EnrollmentState,
    ExceptionRule,
    Goal,
    History,
    Occurrence,
    Plan,
    Seen,
)
from services.trigger.rules import Ledger, judge_event, make_book
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

WINDOW = timedelta(days=7)
HOUR = timedelta(hours=1)
BOUGHT = Goal("bought", "order_placed", None, WINDOW)
SPENT = Goal("spent", "order_placed", None, WINDOW, "total")


def a_goal_plan(*goals: Goal, **given_: Any) -> Plan:
    return a_plan(goals=goals or (BOUGHT,), **given_)


def converted(plan: Plan, events: Iterable[Occurrence]) -> list[Conversion]:
    """Judge events as a log has them, each with what profile knows by then."""
    ledger = Ledger((), {})
    last_times: dict[str, Any] = {}
    for event in events:
        known = last_times.get(event.type, event.occur_time)
        last_times[event.type] = max(known, event.occur_time)
        people = {"ana": a_person(last_times=dict(last_times))}
        judge_event(ledger, make_book([plan]), event, people, now=NOW + 30 * WINDOW)
    return list(ledger.effects().conversions)


def cart(event_id: str = "cart", after: timedelta = timedelta(0), **properties: Any) -> Occurrence:
    return an_occurrence(event_id=event_id, at=NOW + after, **properties)


def order(after: timedelta, event_id: str = "order", **properties: Any) -> Occurrence:
    return an_occurrence("order_placed", event_id=event_id, at=NOW + after, **properties)


@given(after=st.integers(-3, 7 * 24 + 3).map(lambda hours: hours * HOUR), first=st.booleans())
def test_an_event_within_the_window_counts_whichever_the_log_has_first(
    after: timedelta, first: bool
) -> None:
    events = [order(after), cart()] if first else [cart(), order(after)]

    found = converted(a_goal_plan(), events)

    # At the instant of the entry the order of the log decides.
    within = timedelta(0) < after <= WINDOW or (after == timedelta(0) and not first)
    assert len(found) == within


@given(st.permutations([cart(), order(HOUR, "o1", total=5), order(2 * HOUR, "o2", total=7)]))
def test_a_goal_counts_once_for_each_passage_in_any_order(events: list[Occurrence]) -> None:
    assert len(converted(a_goal_plan(), events)) == 1


def test_a_value_is_that_of_the_first_event_and_zero_where_there_is_none() -> None:
    events = [cart(), order(HOUR, "o1", total=5), order(2 * HOUR, "o2", total=7)]

    assert [one.value for one in converted(a_goal_plan(SPENT), events)] == [5.0]
    assert [one.value for one in converted(a_goal_plan(SPENT), [cart(), order(HOUR)])] == [0.0]
    odd = [cart(), order(HOUR, total="much")]
    assert [one.value for one in converted(a_goal_plan(SPENT), odd)] == [0.0]


def test_one_that_asks_for_more_than_type_and_time_does_not_count_before_its_trigger() -> None:
    assert converted(a_goal_plan(SPENT), [order(HOUR, total=5), cart()]) == []


def test_a_filter_sees_what_began_the_passage() -> None:
    same = replace(
        BOUGHT,
        filter=lambda event, _, trigger, __: Seen(
            trigger is not None and event.properties["id"] == trigger.properties["id"], ""
        ),
    )
    plan = a_goal_plan(same)

    assert converted(plan, [cart(id=1), order(HOUR, id=2)]) == []
    assert len(converted(plan, [cart(id=1), order(HOUR, id=1)])) == 1


def test_an_event_does_not_reach_a_goal_of_what_it_began() -> None:
    again = Goal("again", "cart_filled", None, WINDOW)

    assert converted(a_goal_plan(again), [cart()]) == []
    assert len(converted(a_goal_plan(again), [cart(), cart("next", HOUR)])) == 1


def test_a_passage_that_has_ended_still_reaches_its_goals() -> None:
    plan = a_goal_plan(exceptions=(ExceptionRule("order_placed"),), delay=HOUR)

    [conversion] = converted(plan, [cart(), order(HOUR / 2)])

    assert conversion.event_uid == cart().uid


def test_what_was_restarted_counts_once_for_its_latest_event() -> None:
    plan = a_goal_plan(exceptions=(ExceptionRule("cart_filled"),), delay=HOUR)

    found = converted(plan, [cart("a"), cart("b", HOUR / 2), order(2 * HOUR)])

    assert [one.event_uid for one in found] == [cart("b").uid]


def test_what_is_kept_from_before_reaches_goals_too() -> None:
    plan = a_goal_plan()
    first = Ledger((), {})
    judge_event(first, make_book([plan]), cart(), {"ana": a_person()}, now=NOW)
    [passage] = first.effects().enrollments
    sent = replace(passage, state=EnrollmentState.SENT)

    later = Ledger((), {}, History(passages=(sent,)))
    judge_event(later, make_book([plan]), order(HOUR), {"ana": a_person()}, now=NOW + HOUR)

    assert [one.event_uid for one in later.effects().conversions] == [passage.event.uid]
