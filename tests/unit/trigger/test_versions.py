"""Makes sure that everybody goes on by the version that the changes since she entered say."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Exit,
    InFlight,
    Leave,
    Occurrence,
    Past,
    Plan,
    Release,
    Seen,
    Stop,
)
from services.trigger.rules import (
    Ledger,
    after_change,
    judge_event,
    judge_exception,
    judge_release,
    make_book,
    plan_for,
    version_after,
)
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

HOUR = timedelta(hours=1)


def walk(entered: int, changes: list[InFlight]) -> int | None:
    """Go from change to change; the first of them made version 2."""
    version: int | None = entered
    for new, in_flight in enumerate(changes, 2):
        if new <= entered or version is None:
            continue
        match in_flight:
            case InFlight.MIGRATE:
                version = new
            case InFlight.EXIT:
                version = None
            case InFlight.FINISH:
                pass
    return version


def past_of(changes: list[InFlight]) -> Past:
    past = Past()
    for version, in_flight in enumerate(changes, 2):
        past = Past(*after_change(past, version, in_flight))
    return past


@given(st.lists(st.sampled_from(InFlight), max_size=12), st.data())
def test_two_numbers_say_what_every_change_of_a_campaign_came_to(
    changes: list[InFlight], data: st.DataObject
) -> None:
    entered = data.draw(st.integers(1, len(changes) + 1))

    assert version_after(past_of(changes), entered) == walk(entered, changes)


@given(st.lists(st.sampled_from(InFlight), max_size=12))
def test_of_earlier_versions_only_those_are_kept_that_somebody_may_go_by(
    changes: list[InFlight],
) -> None:
    past, newest = past_of(changes), len(changes) + 1
    gone_by = {walk(entered, changes) for entered in range(1, newest + 1)} - {None, newest}

    kept = set(range(max(past.migrate_version, past.exit_version), newest))

    assert gone_by <= kept


def of_versions(in_flight: InFlight, **contents: object) -> tuple[Plan, Enrollment]:
    """Return a campaign in its second version, and somebody who waits since its first."""
    first = a_plan(delay=HOUR, template="first", **contents)
    ledger = Ledger([], {})
    judge_event(ledger, make_book([first]), an_occurrence(), {"ana": a_person()}, now=NOW)
    [waits] = ledger.effects().enrollments
    past = Past(*after_change(Past(), 2, in_flight))
    kept = {1: first} if in_flight is InFlight.FINISH else {}
    second = a_plan(delay=HOUR, template="second", version=2, past=replace(past, plans=kept))
    return second, waits


def test_who_is_to_finish_gets_the_message_she_entered_for() -> None:
    plan, waits = of_versions(InFlight.FINISH)

    verdict = judge_release(plan, waits, a_person(), now=NOW + HOUR)

    assert isinstance(verdict, Release)
    assert (verdict.enrollment.template, verdict.enrollment.campaign_version) == ("first", 1)


def test_who_migrates_gets_the_new_message() -> None:
    plan, waits = of_versions(InFlight.MIGRATE)

    verdict = judge_release(plan, waits, a_person(), now=NOW + HOUR)

    assert isinstance(verdict, Release)
    assert (verdict.enrollment.template, verdict.enrollment.campaign_version) == ("second", 2)


def test_who_is_sent_out_leaves_with_the_reason_on_record() -> None:
    plan, waits = of_versions(InFlight.EXIT)

    verdict = judge_release(plan, waits, a_person(), now=NOW)

    assert isinstance(verdict, Exit)
    assert (verdict.gates[-1].name, verdict.gates[-1].passed) == ("version", False)


def test_what_was_released_goes_out_whatever_the_change() -> None:
    plan, waits = of_versions(InFlight.EXIT)
    released = replace(waits, state=EnrollmentState.SENDING)

    assert isinstance(judge_release(plan, released, a_person(), now=NOW + HOUR), Release)


def test_an_earlier_version_keeps_its_exceptions_and_the_new_one_has_its_own() -> None:
    plan, waits = of_versions(InFlight.FINISH, exceptions=(ExceptionRule("order_placed"),))
    order = an_occurrence("order_placed", event_id="o", at=NOW + HOUR / 2)

    assert isinstance(judge_exception(plan, order, a_person(), waits, now=NOW + HOUR / 2), Stop)
    assert make_book([plan]).stopped_by(order) == (plan,)
    anew = replace(waits, campaign_version=2)
    assert isinstance(judge_exception(plan, order, a_person(), anew, now=NOW + HOUR / 2), Leave)


def test_who_was_sent_out_is_not_restarted() -> None:
    plan, waits = of_versions(InFlight.EXIT)
    plan = replace(plan, exceptions=(ExceptionRule("cart_filled"),))
    again = an_occurrence(event_id="f", at=NOW + HOUR / 2)

    verdict = judge_exception(plan, again, a_person(), waits, now=NOW + HOUR / 2)

    assert isinstance(verdict, Leave)


def test_a_restart_goes_on_by_the_version_of_what_it_restarts() -> None:
    plan, waits = of_versions(InFlight.FINISH, exceptions=(ExceptionRule("cart_filled"),))
    ledger = Ledger([replace(waits, revision=1)], {})
    again = an_occurrence(event_id="f", at=NOW + HOUR / 2)

    judge_event(ledger, make_book([plan]), again, {"ana": a_person()}, now=NOW + HOUR / 2)

    [_, restarted] = ledger.effects().enrollments
    assert (restarted.event.event_id, restarted.campaign_version) == ("f", 1)
    assert plan_for(plan, restarted).template == "first"


def test_what_is_asked_at_the_end_is_the_filter_of_her_version() -> None:
    def never(*_: object) -> Seen:
        return Seen(passed=False, detail="never")

    plan, waits = of_versions(InFlight.FINISH)
    plan = replace(plan, filter=never)

    assert isinstance(judge_release(plan, waits, a_person(), now=NOW + HOUR), Release)
    event: Occurrence = waits.event
    moved = replace(waits, campaign_version=2, event=event)
    assert isinstance(judge_release(plan, moved, a_person(), now=NOW + HOUR), Exit)
