"""Makes sure of re-entry for each value apart, and of how many passages are under way at a time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.trigger.model import EnrollmentState, Plan
from services.trigger.rules import Ledger, judge_event, make_book, reentry_key_of, unite
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

PER_ORDER = a_plan(reentry_property="order_id", delay=timedelta(hours=1))


def outcome(plan: Plan, *orders: Any, ledger: Ledger | None = None) -> list[str]:
    """Return the gate that refused each event, or '' where it began a passage."""
    ledger = ledger or Ledger((), {})
    for number, order in enumerate(orders):
        properties = {} if order is None else {"order_id": order}
        event = an_occurrence(event_id=f"e{number}-{order}", **properties)
        judge_event(ledger, make_book([plan]), event, {"ana": a_person()}, now=NOW)
    gates = {one.event.event_id: one.gates[-1].name for one in ledger.effects().refusals}
    return [gates.get(f"e{number}-{order}", "") for number, order in enumerate(orders)]


def test_each_value_enters_once() -> None:
    assert outcome(PER_ORDER, "o1", "o2", "o1", "o2") == ["", "", "reentry", "reentry"]


def test_events_without_the_property_are_one_value() -> None:
    assert outcome(PER_ORDER, None, "o1", None) == ["", "", "reentry"]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("o1", "o1"),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (True, "True"),
        (None, ""),
        ([1], ""),
        ("", ""),
    ],
)
def test_values_are_told_apart_as_text(value: object, key: str) -> None:
    assert reentry_key_of(PER_ORDER, an_occurrence(order_id=value)) == key


def test_the_interval_is_measured_for_each_value_apart() -> None:
    plan = a_plan(reentry_property="order_id", reentry_interval=timedelta(days=1))
    ledger = Ledger((), {})
    for number, (order, hours) in enumerate([("o1", 0), ("o2", 20), ("o1", 25), ("o2", 30)]):
        at = NOW + timedelta(hours=hours)
        event = an_occurrence(event_id=f"{number}", at=at, order_id=order)
        judge_event(ledger, make_book([plan]), event, {"ana": a_person()}, now=at)

    assert [one.event.event_id for one in ledger.effects().refusals] == ["3"]


def test_no_more_than_so_many_are_under_way_at_a_time() -> None:
    plan = a_plan(simultaneous_max=2, reentry_interval=timedelta(0), delay=timedelta(hours=1))

    assert outcome(plan, 1, 2, 3) == ["", "", "simultaneous"]


def test_what_has_ended_makes_room() -> None:
    plan = a_plan(simultaneous_max=1, reentry_interval=timedelta(0), delay=timedelta(hours=1))
    ledger = Ledger((), {})
    outcome(plan, "a", ledger=ledger)
    [waiting] = ledger.effects().enrollments

    ledger.put(replace(waiting, state=EnrollmentState.SENT))

    assert outcome(plan, "b", ledger=ledger) == [""]


def test_people_who_turn_out_to_be_one_are_asked_for_each_value_apart() -> None:
    def a_passage(event_id: str, who: str, order: str) -> Any:

        ledger = Ledger((), {})
        event = an_occurrence(event_id=event_id, profile=who, order_id=order)
        judge_event(ledger, make_book([PER_ORDER]), event, {who: a_person(who)}, now=NOW)
        [one] = ledger.effects().enrollments
        member = "" if who == "ana" else who
        return replace(one, key=one.key._replace(profile="ana"), member=member)

    passages = [
        a_passage("a", "a1", "o1"),
        a_passage("b", "ana", "o2"),
        a_passage("c", "ana", "o1"),
    ]

    united = unite(PER_ORDER, passages, [], a_person(), now=NOW)

    assert [one.event.event_id for one in united.refusals] == ["c"]
