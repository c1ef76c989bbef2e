"""Makes sure that messages are planned by the date that somebody holds, in whatever order it is told."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.trigger.model import (
    DatePlan,
    Due,
    Enrollment,
    EnrollmentState,
    Exit,
    Match,
    NoDue,
    Person,
    Plan,
)
from services.trigger.rules import Ledger, judge_event, judge_release, make_book
from services.trigger.rules.beginnings import ANYTHING, changed, same
from services.trigger.rules.dates import date_due
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

WAITING = EnrollmentState.WAITING
ENDS = "trial_end"
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
NINE = time(9)

days = st.dates(date(2026, 1, 1), date(2027, 12, 31))
# None: not set.
values = st.sampled_from([None, *(f"2026-04-0{number}T12:00:00Z" for number in range(1, 4))])


def due(value: object, zone: str = "UTC", **date_: Any) -> Due | NoDue:
    offset = date_.pop("offset", timedelta(0))
    return date_due(DatePlan(ENDS, offset, **date_), value, zone)


def planned(value: object, zone: str = "UTC", **date_: Any) -> datetime:
    found = due(value, zone, **date_)
    assert isinstance(found, Due)
    return found.time


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-03-11T12:00:00Z", "Asia/Kolkata", datetime(2026, 3, 11, 12, tzinfo=UTC)),
        ("2026-03-11T12:00:00.5+02:00", "UTC", datetime(2026, 3, 11, 10, 0, 0, 500_000, UTC)),
        ("2026-03-11", "Asia/Kolkata", datetime(2026, 3, 10, 18, 30, tzinfo=UTC)),
        # Its clock jumps over midnight.
        ("2026-03-29", "Asia/Beirut", datetime(2026, 3, 28, 22, tzinfo=UTC)),
    ],
)
def test_a_date_is_an_instant_or_a_day_of_hers(value: str, zone: str, expected: datetime) -> None:
    assert planned(value, zone) == expected


@pytest.mark.parametrize(
    ("day", "at", "expected"),
    [
        # Berlin's clocks go from 2 to 3.
        ("2026-03-29", time(2, 30), datetime(2026, 3, 29, 1, tzinfo=UTC)),
        # And from 3 to 2: it is half past two twice.
        ("2026-10-25", time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_clocks_that_are_set(day: str, at: time, expected: datetime) -> None:
    assert planned(day, "Europe/Berlin", local_time=at) == expected


@example(day=date(2026, 3, 31), back=3, zone="Europe/Berlin", at=NINE)
@given(
    day=days,
    back=st.integers(-400, 400),
    zone=st.sampled_from(ZONES),
    at=st.times().map(lambda one: one.replace(second=0, microsecond=0)),
)
def test_whole_days_of_her_calendar(day: date, back: int, zone: str, at: time) -> None:
    found = planned(day.isoformat(), zone, offset=timedelta(days=-back), local_time=at)

    shown = found.astimezone(ZoneInfo(zone))
    assert shown.date() == day - timedelta(days=back)
    # Later only where the clock leaves that time out.
    exists = datetime.combine(shown.date(), at, ZoneInfo(zone)).astimezone(UTC)
    if exists.astimezone(ZoneInfo(zone)).time() == at:
        assert shown.time() == at
    else:
        assert shown.time() > at


@given(
    value=st.one_of(
        st.none(), st.booleans(), st.floats(), st.text(max_size=30), st.lists(st.integers())
    )
)
def test_anything_at_all_is_a_date_or_none(value: object) -> None:
    found = due(value, "Europe/Berlin", offset=timedelta(days=400), local_time=NINE)

    assert isinstance(found, NoDue) == (not isinstance(found, Due))


@pytest.mark.parametrize("value", ["9999-12-31", "0001-01-01", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("days_", [-400, 400])
def test_the_ends_of_the_calendar_are_no_failures(value: str, days_: int) -> None:
    for local_time in (None, NINE):
        due(value, "Asia/Kolkata", offset=timedelta(days=days_), local_time=local_time)


class History:
    """A profile, what is told of it, and what is judged so far."""

    def __init__(self) -> None:
        self.plan: Plan = a_plan(
            trigger_type="attribute_changed",
            match=Match("attribute", frozenset({ENDS})),
            date=DatePlan(ENDS, timedelta(0)),
        )
        self.ledger = Ledger((), {})
        self.value: object = None
        self.untold: list[dict[str, Any]] = []
        self.number = 0

    def set(self, value: object) -> None:
        if value != self.value:
            told = {"attribute": ENDS, "from": self.value, "to": value}
            self.untold.append({key: one for key, one in told.items() if one is not None})
            self.value = value

    def tell(self) -> None:
        """Judge the oldest that the log tells."""
        if self.untold:
            self._judge(self.untold.pop(0))

    def go_through(self) -> None:
        """Judge what whoever goes through everybody reads now."""
        if self.value is not None:
            self._judge({"attribute": ENDS, "to": self.value})

    def _judge(self, told: dict[str, Any]) -> None:
        event = an_occurrence(
            "attribute_changed", event_id=f"e{self.number}", at=NOW, received=NOW, **told
        )
        self.number += 1
        judge_event(self.ledger, make_book([self.plan]), event, {"ana": self.person}, now=NOW)

    @property
    def person(self) -> Person:
        held = {} if self.value is None else {ENDS: self.value}
        return replace(a_person(), attributes=held)

    @property
    def waiting(self) -> list[Enrollment]:
        passages = self.ledger.passages(self.plan.key("ana"))
        return [one for one in passages if one.state is WAITING]


@example(steps=["set", "tell", "set", "tell", "set", "tell"], written=[None, None, None])
@given(
    steps=st.lists(st.sampled_from(["set", "tell", "go_through"]), max_size=20),
    written=st.lists(values, min_size=20, max_size=20),
)
def test_in_whatever_order_the_date_is_told_it_is_planned_once(
    steps: list[str], written: list[object]
) -> None:
    history, left = History(), iter(written)
    for step in steps:
        if step == "set":
            history.set(next(left, None))
        else:
            getattr(history, step)()
        assert len(history.waiting) <= 1
        # What waits for a date that was does not go out.
        for passage in history.waiting:
            at = passage.due_time
            verdict = judge_release(history.plan, passage, history.person, now=at)
            held = passage.event.properties["to"] == history.value
            assert isinstance(verdict, Exit) != held

    while history.untold:
        history.tell()

    dates = [one.event.properties["to"] for one in history.waiting]
    assert dates == ([] if history.value is None else [history.value])


scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "1", "a"]))


@given(one=scalars, other=scalars)
def test_values_are_the_same_as_in_json(one: object, other: object) -> None:
    def kind(value: object) -> str:
        return "number" if type(value) in (int, float) else type(value).__name__

    assert same(one, other) == (kind(one) == kind(other) and one == other)
    assert same([one], [other]) == same(one, other)
    assert same({"a": one}, {"a": other}) == same(one, other)


@given(before=scalars, after=scalars, wanted_from=scalars, wanted_to=scalars)
def test_a_change_is_from_and_to(
    before: object, after: object, wanted_from: object, wanted_to: object
) -> None:
    told: dict[str, Any] = {"from": before, "to": after}
    event = an_occurrence("attribute_changed", **told)

    def asked(from_: object, to: object) -> bool:
        predicate = changed(from_, to)
        return predicate is None or predicate(event, a_person(), None, NOW).passed

    assert asked(ANYTHING, ANYTHING)
    assert asked(wanted_from, ANYTHING) == same(before, wanted_from)
    assert asked(ANYTHING, wanted_to) == same(after, wanted_to)
    assert asked(wanted_from, wanted_to) == (same(before, wanted_from) and same(after, wanted_to))
