"""Makes sure that a message is due when its campaign says, by the clock of who gets it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trigger.model import (
    Due,
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Exit,
    Hours,
    LocalTime,
    Person,
    Plan,
    Refusal,
    Release,
    Settings,
    Timing,
    WaitOn,
)
from services.trigger.rules import (
    Ledger,
    judge_event,
    judge_owed,
    judge_release,
    make_book,
    zone_of,
)
from services.trigger.rules.timestamps import parse_timestamp
from services.trigger.rules.timing import due_of
from tests.unit.trigger import naive_clock
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence
from tests.unit.trigger.naive_clock import local_times, minutes, moments, weekdays

WAITING, SENDING = EnrollmentState.WAITING, EnrollmentState.SENDING
NINE = LocalTime(9 * 60)
DAYTIME = (Hours(9 * 60, 21 * 60),)
KOLKATA = "Asia/Kolkata"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def someone(zone: str) -> Person:
    return replace(a_person(), time_zone=zone)


def told(
    plan: Plan,
    zone: str = "",
    *,
    occurred: datetime = NOW,
    now: datetime | None = None,
    **said: Any,
) -> Enrollment | Refusal:
    """Return what an event began, or its refusal."""
    ledger = Ledger((), {})
    event = an_occurrence(at=occurred, **said)
    judge_event(ledger, make_book([plan]), event, {"ana": someone(zone)}, now=now or occurred)
    effects = ledger.effects()
    begun_or_not: list[Enrollment | Refusal] = [*effects.enrollments, *effects.refusals]
    assert len(begun_or_not) == 1
    return begun_or_not[0]


def begun(
    plan: Plan,
    zone: str = "",
    *,
    occurred: datetime = NOW,
    now: datetime | None = None,
    **said: Any,
) -> Enrollment:
    one = told(plan, zone, occurred=occurred, now=now, **said)
    assert isinstance(one, Enrollment)
    return one


def test_a_wait_is_reckoned_in_the_order_that_the_contract_says() -> None:
    timing = Timing(event_property="departs", offset=timedelta(hours=-2), local_time=NINE)
    plan = a_plan(timing=timing, delay=timedelta(minutes=30))

    passage = begun(plan, KOLKATA, departs="2026-03-05T09:00:00+05:30")

    # 9:00 less two hours, and half an hour on, is 7:30; nine o'clock comes after that.
    assert passage.due_time == at("2026-03-05T03:30")
    assert (passage.state, passage.wake_time) == (WAITING, passage.due_time)
    assert passage.time_zone == KOLKATA
    gate = passage.gates[-1]
    assert (gate.name, gate.detail) == ("wait", "due 2026-03-05T03:30:00Z, 09:00 in Asia/Kolkata")


@pytest.mark.parametrize(
    ("own", "workspace", "zone"),
    [
        ("Asia/Kolkata", "Europe/Berlin", "Asia/Kolkata"),
        ("", "Europe/Berlin", "Europe/Berlin"),
        ("Mars/Olympus", "Europe/Berlin", "Europe/Berlin"),
        ("x" * 65, "", "UTC"),
        ("", "", "UTC"),
    ],
)
def test_a_zone_is_hers_else_the_workspaces_else_utc(own: str, workspace: str, zone: str) -> None:
    assert zone_of(someone(own), Settings(time_zone=workspace)) == zone


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({}, "departs is absent"),
        ({"departs": "tomorrow"}, "departs holds no timestamp"),
        ({"departs": "2026-03-05"}, "departs holds no timestamp"),
        ({"departs": "2026-02-30T09:00:00Z"}, "departs holds no timestamp"),
        ({"departs": 1772701200}, "departs holds no timestamp"),
        ({"departs": "9999-12-31T23:59:59Z"}, "due beyond the calendar"),
        (
            {"departs": "2026-02-01T00:00:00Z"},
            "due 2026-01-31T22:00:00Z, expired since",
        ),
    ],
)
def test_an_event_that_nobody_can_count_from_begins_nothing(
    said: dict[str, Any], seen: str
) -> None:
    plan = a_plan(timing=Timing(event_property="departs", offset=timedelta(hours=-2)))

    refusal = told(plan, **said)

    assert isinstance(refusal, Refusal)
    assert (refusal.gates[-1].name, refusal.gates[-1].detail) == ("wait", seen)


def test_a_time_that_is_past_means_at_once_and_expires_by_that_time() -> None:
    plan = a_plan(timing=Timing(event_property="departs"), time_to_live=timedelta(hours=2))

    passage = begun(plan, departs="2026-03-01T11:00:00Z")

    assert passage.state is SENDING
    assert passage.expire_time == at("2026-03-01T13:00")


def test_a_time_to_live_counts_from_the_due_time_after_all_waits() -> None:
    plan = a_plan(timing=Timing(local_time=NINE), time_to_live=timedelta(hours=1))

    passage = begun(plan, KOLKATA)

    assert passage.expire_time - passage.due_time == timedelta(hours=1)


@given(
    st.integers(0, 1000),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=24)),
)
def test_a_spread_is_within_its_bounds_and_the_same_for_ever(
    number: int, spread: timedelta
) -> None:
    plan = a_plan(timing=Timing(spread=spread))
    event = an_occurrence(event_id=f"e{number}")

    due = due_of(plan, event, "ana", "UTC")

    assert isinstance(due, Due)
    assert NOW <= due.time <= NOW + spread
    assert due == due_of(plan, event, "ana", KOLKATA)


def test_a_spread_spreads() -> None:
    plan = a_plan(timing=Timing(spread=timedelta(hours=1)))
    dues = [due_of(plan, an_occurrence(event_id=f"e{n}"), "ana", "UTC") for n in range(400)]

    quarters = [0] * 4
    for due in dues:
        assert isinstance(due, Due)
        quarters[(due.time - NOW) // timedelta(minutes=15)] += 1

    assert min(quarters) > 60


@settings(max_examples=100, deadline=None)
@given(
    local_times,
    moments(),
    st.integers(0, 3000),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=24)),
)
def test_a_wait_is_what_a_clock_on_the_wall_says(
    wanted: LocalTime, moment: tuple[datetime, str], delay: int, spread: timedelta
) -> None:
    occurred, zone = moment
    span = timedelta(minutes=delay)
    plan = a_plan(delay=span, timing=Timing(local_time=wanted, spread=spread))

    due = due_of(plan, an_occurrence(at=occurred), "ana", zone)

    assert isinstance(due, Due)
    showing = next(naive_clock.showings(wanted, occurred + span, zone))
    assert showing <= due.time <= showing + spread


def test_a_due_message_outside_the_window_waits_for_the_next() -> None:
    plan = a_plan(timing=Timing(window=DAYTIME))
    occurred = at("2026-03-01T22:00")

    passage = begun(plan, "Europe/London", occurred=occurred)

    assert (passage.state, passage.wake_time) == (WAITING, at("2026-03-02T09:00"))
    assert passage.due_time == occurred
    gate = passage.gates[-1]
    assert gate.name == "send_window"
    assert gate.detail == "closed at 22:00 in Europe/London; waits until 2026-03-02T09:00:00Z"


def test_a_due_message_inside_the_window_goes_at_once() -> None:
    assert begun(a_plan(timing=Timing(window=DAYTIME)), KOLKATA).state is SENDING


def test_a_window_that_opens_after_the_message_expires_ends_it() -> None:
    plan = a_plan(timing=Timing(window=DAYTIME), time_to_live=timedelta(hours=8))
    occurred = at("2026-03-01T22:00")
    passage = begun(plan, occurred=occurred)

    verdict = judge_release(plan, passage, someone(""), now=occurred)

    assert isinstance(verdict, Exit)
    gate = verdict.gates[-1]
    assert (gate.name, gate.passed) == ("send_window", False)
    assert gate.detail == (
        "closed at 22:00 in UTC; opens 2026-03-02T09:00:00Z, too late: expires 2026-03-02T06:00:00Z"
    )


def test_a_message_that_waits_for_its_window_dies_with_its_campaign() -> None:
    plan = a_plan(timing=Timing(window=DAYTIME), end_time=at("2026-03-02T00:00"))
    occurred = at("2026-03-01T22:00")

    verdict = judge_release(plan, begun(plan, occurred=occurred), someone(""), now=occurred)

    assert isinstance(verdict, Exit)
    assert "expires 2026-03-02T00:00:00Z" in verdict.gates[-1].detail


def test_a_missed_window_is_followed_by_the_next() -> None:
    """As when nothing could be judged from before it opened until after it closed."""
    plan = a_plan(timing=Timing(window=DAYTIME))
    passage = begun(plan, occurred=at("2026-03-01T22:00"))

    verdict = judge_release(plan, passage, someone(""), now=at("2026-03-02T21:00"))

    assert isinstance(verdict, WaitOn)
    assert verdict.enrollment.wake_time == at("2026-03-03T09:00")


@pytest.mark.parametrize(
    ("zone", "due"),
    [
        # 22:30 where she is when it is 9:00 in Kolkata.
        ("America/New_York", "2026-03-02T14:00"),
        # 12:30 there: nine o'clock is over, tomorrow's is to come.
        ("Asia/Tokyo", "2026-03-03T00:00"),
        # 8:30 there.
        ("Asia/Karachi", "2026-03-02T04:00"),
    ],
)
def test_who_has_moved_waits_on_until_her_clock_shows_the_time(zone: str, due: str) -> None:
    plan = a_plan(timing=Timing(local_time=NINE))
    passage = begun(plan, KOLKATA)

    verdict = judge_release(plan, passage, someone(zone), now=passage.due_time)

    assert isinstance(verdict, WaitOn)
    later = verdict.enrollment
    assert later.due_time == later.wake_time == at(due)
    assert (later.state, later.time_zone) == (WAITING, zone)
    assert later.expire_time == later.due_time + plan.time_to_live
    assert later.gates[-1].detail == f"due {due}:00Z, 09:00 in {zone}"


def test_who_has_moved_where_clocks_show_the_same_does_not_wait_again() -> None:
    plan = a_plan(timing=Timing(local_time=NINE, spread=timedelta(hours=1)))
    passage = begun(plan, KOLKATA)

    verdict = judge_release(plan, passage, someone("Asia/Colombo"), now=passage.due_time)

    assert isinstance(verdict, Release)


def test_who_has_moved_where_it_is_due_after_the_campaigns_end_leaves() -> None:
    plan = a_plan(timing=Timing(local_time=NINE), end_time=at("2026-03-02T08:00"))
    passage = begun(plan, KOLKATA)

    verdict = judge_release(plan, passage, someone("America/New_York"), now=passage.due_time)

    assert isinstance(verdict, Exit)
    assert verdict.gates[-1].name == "wait"


def test_a_send_that_a_worker_left_behind_does_not_wait_again() -> None:
    """It may be out already."""
    plan = a_plan(timing=Timing(window=DAYTIME))
    passage = begun(plan)

    owed = judge_owed(plan, passage, someone(""), now=NOW + timedelta(hours=10))

    assert owed == Release(passage)


zones = st.sampled_from([zone for zone, _ in naive_clock.NIGHTS.values()])


@settings(max_examples=100, deadline=None)
@given(
    st.none() | local_times,
    st.lists(st.builds(Hours, minutes, minutes, weekdays), max_size=2),
    moments(),
    st.lists(zones, max_size=4),
    st.integers(1, 30 * 24),
)
def test_whoever_moves_however_often_a_message_goes_out_in_its_hours_or_is_over(
    wanted: LocalTime | None,
    window: list[Hours],
    moment: tuple[datetime, str],
    moves: list[str],
    hours_to_live: int,
) -> None:
    """Fires the timer as the worker does, with her in another zone each time."""
    now, zone = moment
    plan = a_plan(
        timing=Timing(local_time=wanted, window=tuple(window)),
        time_to_live=timedelta(hours=hours_to_live),
    )
    passage = begun(plan, zone, occurred=now)
    first = passage.due_time
    path = [*moves, *[zone] * 5]

    while passage.state is WAITING:
        assert passage.wake_time is not None
        woken = max(now, passage.wake_time)
        zone = path.pop(0)
        verdict = judge_release(plan, passage, someone(zone), now=woken)
        if isinstance(verdict, Exit):
            assert verdict.gates[-1].name in ("send_window", "expiry")
            return
        if isinstance(verdict, WaitOn):
            assert verdict.enrollment.wake_time is not None
            # Or it would be a busy loop.
            assert verdict.enrollment.wake_time > woken
            passage, now = verdict.enrollment, woken
            continue
        assert isinstance(verdict, Release)
        passage, now = verdict.enrollment, woken

    assert now >= first
    assert now < passage.expire_time
    assert not window or naive_clock.is_open(window, now, zone)


def test_a_restart_reckons_the_wait_by_the_new_event() -> None:
    plan = a_plan(timing=Timing(local_time=NINE), exceptions=(ExceptionRule("cart_filled"),))
    ledger, people = Ledger((), {}), {"ana": someone(KOLKATA)}
    for number, moment in enumerate((NOW, NOW + timedelta(hours=18))):
        event = an_occurrence(event_id=f"e{number}", at=moment)
        judge_event(ledger, make_book([plan]), event, people, now=moment)

    waiting = [one for one in ledger.passages(plan.key("ana")) if one.state is WAITING]

    assert [(one.event.event_id, one.due_time) for one in waiting] == [
        ("e1", at("2026-03-03T03:30"))
    ]


def test_a_restart_that_nobody_can_count_from_stops_what_waits() -> None:
    """A flight without a time is no reason to tell of the old one."""
    plan = a_plan(
        timing=Timing(event_property="departs"),
        exceptions=(ExceptionRule("cart_filled"),),
        reentry_interval=timedelta(0),
    )
    ledger, people = Ledger((), {}), {"ana": someone("")}
    first = an_occurrence(event_id="e0", departs="2026-03-05T09:00:00Z")
    judge_event(ledger, make_book([plan]), first, people, now=NOW)

    later = NOW + timedelta(hours=1)
    second = an_occurrence(event_id="e1", at=later)
    judge_event(ledger, make_book([plan]), second, people, now=later)

    [passage] = ledger.passages(plan.key("ana"))
    [refusal] = ledger.effects().refusals
    assert passage.state is EnrollmentState.EXITED
    assert (refusal.event.event_id, refusal.gates[-1].name) == ("e1", "wait")


def test_an_exception_stops_what_waits_for_its_window() -> None:
    plan = a_plan(timing=Timing(window=DAYTIME), exceptions=(ExceptionRule("order_placed"),))
    ledger, people = Ledger((), {}), {"ana": someone("")}
    night = at("2026-03-01T22:00")
    for type_, moment in (("cart_filled", night), ("order_placed", at("2026-03-02T08:59"))):
        event = an_occurrence(type_, event_id=type_, at=moment)
        judge_event(ledger, make_book([plan]), event, people, now=moment)

    [passage] = ledger.passages(plan.key("ana"))
    assert (passage.state, passage.gates[-1].name) == (EnrollmentState.EXITED, "exception")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-05T09:00:00Z", at("2026-03-05T09:00")),
        ("2026-03-05t09:00:00z", at("2026-03-05T09:00")),
        ("2026-03-05 09:00:00+05:30", at("2026-03-05T03:30")),
        ("2026-03-05T09:00:00.1234567Z", at("2026-03-05T09:00:00.123456")),
        ("2026-03-05T09:00:00", None),
        ("2026-03-05T09:00Z", None),
        ("20260305T090000Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("٢٠٢٦-03-05T09:00:00Z", None),
        ("2026-03-05T09:00:00." + "1" * 100 + "Z", None),
        (True, None),
    ],
)
def test_a_timestamp_is_what_rfc_3339_says(text: object, moment: datetime | None) -> None:
    assert parse_timestamp(text) == moment


@given(late=st.integers(0, 7200), limit=st.integers(0, 7200), delay=st.integers(0, 7200))
def test_a_late_event_is_due_when_it_would_have_been_or_begins_nothing(
    late: int, limit: int, delay: int
) -> None:
    plan = a_plan(delay=timedelta(seconds=delay), max_trigger_lateness=timedelta(seconds=limit))
    occurred = NOW - timedelta(seconds=late)
    ledger = Ledger((), {})
    event = an_occurrence(at=occurred, received=NOW)

    judge_event(ledger, make_book([plan]), event, {"ana": someone("")}, now=NOW)

    effects = ledger.effects()
    if late > limit:
        [refusal] = effects.refusals
        assert refusal.gates[-1].name == "lateness"
    else:
        [passage] = effects.enrollments
        assert passage.due_time == max(occurred + timedelta(seconds=delay), NOW)
