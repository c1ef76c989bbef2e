"""Makes sure that judging agrees with a naive reading of the contract, in whatever order events come."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.trigger.model import (
    Allowed,
    CampaignState,
    Deferred,
    Enrollment,
    EnrollmentState,
    ExceptionRule,
    Exit,
    Hold,
    LocalTime,
    Occurrence,
    Person,
    Plan,
    RecipientKind,
    Release,
    Seen,
    Suppressed,
    Timing,
    WaitOn,
)
from services.trigger.rules import (
    Ledger,
    after_throttle,
    judge_event,
    judge_owed,
    judge_release,
    make_book,
    share,
)
from tests.unit.trigger.builders import NOW, a_person, a_plan, an_occurrence

WAITING, EXITED = EnrollmentState.WAITING, EnrollmentState.EXITED
DELAY = timedelta(minutes=10)
BOUGHT = ExceptionRule("order_placed")

# Close together and often equal: same instants and near misses are where the bugs are.
offsets = st.integers(-3, 3)
steps = st.lists(
    st.tuples(st.sampled_from(["cart_filled", "order_placed", "page_viewed"]), offsets),
    max_size=8,
)

FOR_TEN_MINUTES: dict[str, Any] = {"delay": DELAY}
# Ten minutes as well: however a message comes to wait, what stops it is the same.
waits = st.sampled_from(
    [
        FOR_TEN_MINUTES,
        {"timing": Timing(local_time=LocalTime(12 * 60 + 10))},
        {"timing": Timing(offset=DELAY, spread=DELAY)},
    ]
)


class Story:
    """Feeds events in the order of the log, as turns of the worker do."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger((), {})
        self.seen: dict[str, datetime] = {}
        self.number = 0

    def tell(self, type_: str, at: datetime, **properties: Any) -> Occurrence:
        event = an_occurrence(type_, event_id=f"e{self.number}", at=at, received=NOW, **properties)
        self.number += 1
        self.seen[type_] = max(at, self.seen.get(type_, at))
        people = {"ana": a_person(last_times=dict(self.seen))}
        judge_event(self.ledger, make_book([self.plan]), event, people, now=NOW)
        return event

    @property
    def passages(self) -> list[Enrollment]:
        return self.ledger.passages(self.plan.key("ana"))

    @property
    def waiting(self) -> list[str]:
        return [one.event.event_id for one in self.passages if one.state is WAITING]


def naive_waiting(told: list[tuple[str, int]], *, debounce: bool) -> list[str]:
    """Return which events wait in the end, read off the whole history at once."""
    entries: list[tuple[int, int]] = []  # (place in the log, when it occurred)
    over: set[int] = set()
    for place, (type_, at) in enumerate(told):
        if type_ == "order_placed":
            over |= {one for one, since in entries if since <= at}
            continue
        if type_ != "cart_filled":
            continue
        waits = [(one, since) for one, since in entries if one not in over]
        bought_later = any(other == "order_placed" and then > at for other, then in told[:place])
        if debounce:
            older = [one for one, since in waits if since <= at]
            if older:
                over |= set(older)
                entries.append((place, at))
                continue
            if waits:
                continue
        if not bought_later:
            entries.append((place, at))
    return [f"e{one}" for one, _ in entries if one not in over]


@given(told=steps, wait=waits)
@example(told=[("cart_filled", 0), ("order_placed", 0)], wait=FOR_TEN_MINUTES)
@example(told=[("order_placed", 0), ("cart_filled", 0)], wait=FOR_TEN_MINUTES)
@example(told=[("order_placed", 1), ("cart_filled", 0)], wait=FOR_TEN_MINUTES)
@example(told=[("cart_filled", 0), ("order_placed", -1)], wait=FOR_TEN_MINUTES)
def test_exceptions_stop_what_occurred_before_them_in_whatever_order_they_come(
    told: list[tuple[str, int]], wait: dict[str, Any]
) -> None:
    plan = a_plan(**wait, exceptions=(BOUGHT,), reentry_interval=timedelta(0))
    story = Story(plan)

    for type_, at in told:
        story.tell(type_, NOW + timedelta(seconds=at))

    assert story.waiting == naive_waiting(told, debounce=False)


@given(told=steps, wait=waits)
@example(told=[("cart_filled", 0), ("cart_filled", 0)], wait=FOR_TEN_MINUTES)
@example(told=[("cart_filled", 1), ("cart_filled", 0)], wait=FOR_TEN_MINUTES)
@example(told=[("cart_filled", 0), ("order_placed", 1), ("cart_filled", 0)], wait=FOR_TEN_MINUTES)
def test_of_triggers_that_restart_the_latest_waits(
    told: list[tuple[str, int]], wait: dict[str, Any]
) -> None:
    rules = (BOUGHT, ExceptionRule("cart_filled"))
    plan = a_plan(**wait, exceptions=rules, reentry_interval=timedelta(0))
    story = Story(plan)

    for type_, at in told:
        story.tell(type_, NOW + timedelta(seconds=at))

    assert story.waiting == naive_waiting(told, debounce=True)
    assert len(story.waiting) <= 1


@given(
    told=st.lists(st.integers(0, 100), min_size=1, max_size=10),
    interval=st.one_of(st.none(), st.integers(0, 50)),
)
def test_nobody_enters_again_too_early(told: list[int], interval: int | None) -> None:
    span = None if interval is None else timedelta(seconds=interval)
    story = Story(a_plan(delay=DELAY, reentry_interval=span))
    expected: list[int] = []

    for at in told:
        story.tell("cart_filled", NOW + timedelta(seconds=at))
        if not expected or (
            interval is not None and (not interval or at >= max(expected) + interval)
        ):
            expected.append(at)

    entered = [round((one.entry_time - NOW).total_seconds()) for one in story.passages]
    assert sorted(entered) == sorted(expected)


@given(gaps=st.lists(st.integers(0, 599), min_size=1, max_size=6))
def test_a_restart_moves_the_time_and_keeps_the_entry(gaps: list[int]) -> None:
    story = Story(a_plan(delay=DELAY, exceptions=(ExceptionRule("cart_filled"),)))
    at = NOW

    for gap in gaps:
        at += timedelta(seconds=gap)
        story.tell("cart_filled", at, value=gap)

    [waiting] = [one for one in story.passages if one.state is WAITING]
    assert waiting.entry_time == NOW + timedelta(seconds=gaps[0])
    assert waiting.due_time == at + DELAY
    assert waiting.event.properties == {"value": gaps[-1]}


@given(told=steps, split=st.integers(0, 8))
def test_it_does_not_matter_where_one_turn_ends_and_the_next_begins(
    told: list[tuple[str, int]], split: int
) -> None:
    rules = (BOUGHT, ExceptionRule("cart_filled"))
    plan = a_plan(delay=DELAY, exceptions=rules, reentry_interval=timedelta(seconds=2))
    whole, parted = Story(plan), Story(plan)
    for type_, at in told:
        whole.tell(type_, NOW + timedelta(seconds=at))

    for place, (type_, at) in enumerate(told):
        if place == split:
            key = plan.key("ana")
            last = parted.ledger.last_entry(key)
            kept = [replace(one, revision=1) for one in parted.passages if one.state is WAITING]
            parted.ledger = Ledger(kept, {} if last is None else {key: last})
        parted.tell(type_, NOW + timedelta(seconds=at))

    assert parted.waiting == whole.waiting


def entered(plan: Plan, **event: Any) -> Enrollment:
    """Return the passage that an event begins."""
    story = Story(plan)
    story.tell("cart_filled", NOW, **event)
    [passage] = story.passages
    return passage


def test_what_is_due_is_released_at_once() -> None:
    passage = entered(a_plan())

    assert passage.state is EnrollmentState.SENDING
    assert passage.release_time == NOW


def test_a_restart_in_a_paused_campaign_waits_for_its_launch() -> None:
    plan = a_plan(delay=DELAY, exceptions=(ExceptionRule("cart_filled"),))
    story = Story(plan)
    story.tell("cart_filled", NOW - 2 * DELAY)
    story.ledger.put(replace(story.passages[0], state=WAITING))
    story.plan = replace(plan, state=CampaignState.PAUSED)

    story.tell("cart_filled", NOW - DELAY)

    assert story.waiting == ["e1"]


@given(
    state=st.sampled_from(CampaignState),
    now=st.integers(0, 2000),
    end=st.one_of(st.none(), st.integers(601, 2000)),
    passes=st.booleans(),
    bought=st.one_of(st.none(), st.integers(-5, 5)),
)
def test_a_message_goes_out_only_while_all_holds_that_held(
    state: CampaignState, now: int, end: int | None, passes: bool, bought: int | None
) -> None:
    def judge(event: object, person: object, trigger: object, moment: datetime) -> Seen:
        return Seen(passes, "told")

    plan = a_plan(
        state=state,
        delay=DELAY,
        exceptions=(BOUGHT,),
        filter=judge,
        time_to_live=timedelta(seconds=1000),
        end_time=None if end is None else NOW + timedelta(seconds=end),
    )
    passage = entered(replace(plan, filter=None, state=CampaignState.ACTIVE))
    moment = NOW + timedelta(seconds=now)
    times = {} if bought is None else {"order_placed": NOW + timedelta(seconds=bought)}
    expires = min(1600, end or 1600)

    verdict = judge_release(plan, passage, a_person(last_times=times), now=moment)

    over = now >= expires or not passes or (bought or 0) > 0
    match verdict:
        case Hold():
            assert state is CampaignState.PAUSED
            assert now < expires
        case Release(released):
            assert state is CampaignState.ACTIVE
            assert not over
            assert released.expire_time == NOW + timedelta(seconds=expires)
        case WaitOn():
            pytest.fail("it asks for no time of day")
        case Exit(gates):
            assert over or state in (CampaignState.DRAFT, CampaignState.ARCHIVED)
            assert not gates[-1].passed


def test_who_waits_in_a_campaign_that_is_gone_leaves_it() -> None:
    passage = entered(a_plan(delay=DELAY))

    assert isinstance(judge_release(None, passage, a_person(), now=NOW + DELAY), Exit)


def test_a_send_under_way_goes_on_though_its_campaign_is_paused() -> None:
    plan = a_plan(state=CampaignState.PAUSED)
    passage = entered(a_plan())

    assert judge_owed(plan, passage, a_person(), now=NOW) == Release(passage)


@given(until=st.integers(-10, 10_000))
def test_a_deferred_message_waits_or_is_over_and_never_spins(until: int) -> None:
    passage = entered(a_plan(time_to_live=timedelta(seconds=5000)))
    verdict = Deferred(NOW + timedelta(seconds=until), "frequency_cap", "2 of 2")

    after = after_throttle(passage, verdict, now=NOW)

    assert (after.state is WAITING) == (until < 5000)
    assert after.state in (WAITING, EXITED)
    if after.state is WAITING and after.wake_time is not None:
        assert after.wake_time > NOW - timedelta(microseconds=1)
    assert after.gates[-1].name == "frequency_cap"


def test_throttles_word_ends_the_trail() -> None:
    passage = entered(a_plan())

    sent = after_throttle(passage, Allowed(), now=NOW)
    over = after_throttle(passage, Suppressed("consent", "unsubscribed"), now=NOW)

    assert sent.state is EnrollmentState.SENT
    assert (over.state, over.gates[-1].detail) == (EXITED, "unsubscribed")


@given(count=st.integers(1, 40), workers=st.integers(1, 7), order=st.randoms(use_true_random=False))
def test_workers_come_to_an_even_share_and_stay_there(
    count: int, workers: int, order: object
) -> None:
    names = [f"w{number}" for number in range(workers)]
    owners: dict[int, str | None] = {
        partition: order.choice([None, *names])  # type: ignore[attr-defined]
        for partition in range(count)
    }

    for _ in range(3):
        for name in names:
            wanted = share(owners, name, workers=workers)
            owners |= dict.fromkeys(wanted.release, None)
            owners |= dict.fromkeys(wanted.take, name)

    held = [sum(owner == name for owner in owners.values()) for name in names]
    assert None not in owners.values()
    assert max(held) <= -(-count // workers)
    assert all(share(owners, one, workers=workers) == share({}, "x", workers=1) for one in names)


def test_nobody_is_a_person_whom_no_event_names() -> None:
    empty: dict[str, Person] = {}
    ledger = Ledger((), {})
    plan = a_plan(recipient=RecipientKind.PROPERTY, recipient_property="owner")

    judge_event(ledger, make_book([plan]), an_occurrence(), empty, now=NOW)

    [refusal] = ledger.effects().refusals
    assert (refusal.gates[-1].name, refusal.key.profile) == ("recipient", "ana")
