"""Makes sure that the crash test's judge sees what is lost and what is there twice."""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from tests.chaos.blows import plan
from tests.chaos.cast import DELAY, MAIN, Cast, Promise
from tests.chaos.crowd import CROWD, LAUNCH, NEWS, Account, Crowd, Ledger
from tests.chaos.herd import TARGETS
from tests.chaos.verdict import Arrival, Verdict, compare_history, judge

ONE = Promise(workspace=MAIN, campaign="c", events=("e1",), recipient="p", count=1)
TWO = replace(ONE, events=("e2",))
NONE = replace(ONE, count=0)
STOPPED = replace(NONE, stopped_by="e2")
ANY_TWO = replace(ONE, events=("e1", "e2", "e3"), count=2)


def arrival(event: str, key: str) -> Arrival:
    return Arrival(MAIN, "c", "p", (event,), key)


def verdict(promise: Promise, *arrivals: Arrival, acknowledged: float = 0.0) -> Verdict:
    return judge(
        [promise],
        arrivals,
        occurred={"e1": 100.0},
        acknowledged={"e1": 100.0, "e2": acknowledged},
    )


@pytest.mark.parametrize(
    ("promise", "arrivals", "lost", "duplicate"),
    [
        (ONE, [("e1", "k1")], 0, 0),
        (ONE, [], 1, 0),
        (ONE, [("e1", "k1"), ("e1", "k1")], 0, 0),
        (ONE, [("e1", "k1"), ("e1", "k2")], 0, 1),
        (NONE, [], 0, 0),
        (NONE, [("e1", "k1")], 0, 1),
        (ANY_TWO, [("e1", "k1"), ("e3", "k3")], 0, 0),
        (ANY_TWO, [("e1", "k1")], 1, 0),
        (ANY_TWO, [("e1", "k1"), ("e1", "k2")], 1, 1),
        (ANY_TWO, [("e1", "k1"), ("e2", "k2"), ("e3", "k3")], 0, 1),
        (ONE, [("e1", "k1"), ("e9", "k9")], 0, 1),
    ],
)
def test_messages_are_counted_by_key(
    promise: Promise, arrivals: list[tuple[str, str]], lost: int, duplicate: int
) -> None:
    found = verdict(promise, *(arrival(*one) for one in arrivals))

    assert (found.lost, found.duplicate) == (lost, duplicate)


def test_a_repeat_under_the_same_key_is_told_but_is_no_duplicate() -> None:
    found = verdict(ONE, arrival("e1", "k1"), arrival("e1", "k1"))

    assert (found.repeats, found.duplicate) == (1, 0)


@pytest.mark.parametrize(
    ("messages", "lost", "duplicate"),
    [
        ([("k1", ("e1", "e2"))], 0, 0),
        ([("k1", ("e1",)), ("k2", ("e2",))], 0, 0),
        ([("k1", ("e1",)), ("k2", ("e1", "e2"))], 0, 1),
        ([("k1", ("e1", "e2", "e1"))], 0, 1),
        ([("k1", ("e1",))], 1, 0),
        # Who has seen the key does not read what the repeat says.
        ([("k1", ("e1",)), ("k1", ("e1", "e2"))], 1, 0),
    ],
)
def test_a_gathered_event_is_in_one_message(
    messages: list[tuple[str, tuple[str, ...]]], lost: int, duplicate: int
) -> None:
    arrivals = [Arrival(MAIN, "c", "p", events, key) for key, events in messages]

    found = judge([ONE, TWO], arrivals, occurred={}, acknowledged={})

    assert (found.lost, found.duplicate) == (lost, duplicate)


def test_a_message_that_comes_to_somebody_else_is_lost_and_too_much() -> None:
    found = verdict(ONE, Arrival(MAIN, "c", "q", ("e1",), "k1"))

    assert (found.lost, found.duplicate) == (1, 1)


def test_everybody_hears_the_news_once_but_who_is_deaf() -> None:
    crowd = Crowd(20)
    heard = ["c0", "c0", *crowd.told[2:], *crowd.deaf]
    arrivals = [
        Arrival(CROWD, NEWS, name, (LAUNCH,), f"k{number}") for number, name in enumerate(heard)
    ]

    found = judge(crowd.promises(), arrivals, occurred={}, acknowledged={})

    assert (found.expected, found.lost, found.duplicate) == (20, 1, 2)


OPEN = Account(20, 5, {"filter": 1}, {}, 14)
CLOSED = Crowd(20).account()


@pytest.mark.parametrize(
    ("looks", "faults"),
    [
        ([(OPEN, 5, False), (CLOSED, 20, True), (CLOSED, 20, True)], 0),
        ([(OPEN, 5, False)], 1),
        ([(OPEN._replace(pending=13), 5, False), (CLOSED, 20, True)], 1),
        ([(OPEN._replace(sent=20, pending=-1), 20, False), (CLOSED, 20, True)], 1),
        ([(OPEN, 4, False), (CLOSED, 20, True)], 1),
        ([(OPEN, 5, False), (OPEN._replace(sent=4, pending=15), 5, False), (CLOSED, 20, True)], 1),
        ([(CLOSED._replace(audience=22, pending=1), 20, False), (CLOSED, 20, True)], 1),
        ([(CLOSED._replace(sent=19, failed={"expired": 1}), 20, True)], 1),
        ([(CLOSED, 20, True), (OPEN, 20, False), (CLOSED, 20, True)], 1),
    ],
)
def test_an_account_is_held_to_what_it_says_at_every_look(
    looks: list[tuple[Account, int, bool]], faults: int
) -> None:
    ledger = Ledger(Crowd(20))

    for seen, arrived, ended in looks:
        ledger.note(seen, arrived=arrived, ended=ended)

    assert ledger.faults == faults, ledger.wrong


def test_an_exception_known_in_time_stops_the_message() -> None:
    found = verdict(STOPPED, arrival("e1", "k1"), acknowledged=100.0 + DELAY)

    assert (found.duplicate, found.open) == (1, 0)


@pytest.mark.parametrize("arrivals", [[], [("e1", "k1")]])
def test_an_exception_known_too_late_leaves_it_open(arrivals: list[tuple[str, str]]) -> None:
    late = 100.1 + DELAY

    found = verdict(STOPPED, *(arrival(*one) for one in arrivals), acknowledged=late)

    assert (found.lost, found.duplicate, found.open) == (0, 0, 1)


@pytest.mark.parametrize(
    ("found", "missing", "twice", "disordered"),
    [
        (["a", "b", "c"], [], [], []),
        (["a", "c"], ["b"], [], []),
        (["a", "b", "b", "c"], [], ["b"], []),
        (["b", "a", "c"], [], [], ["a"]),
    ],
)
def test_history_is_compared_event_by_event(
    found: list[str], missing: list[str], twice: list[str], disordered: list[str]
) -> None:
    history = compare_history({"p": ["a", "b", "c"]}, {"p": found})

    assert (history.missing, history.twice, history.disordered) == (missing, twice, disordered)


def test_the_same_seed_tells_the_same_stories() -> None:
    first, second = Cast(Random(7)), Cast(Random(7))

    assert [first.story() for _ in range(200)] == [second.story() for _ in range(200)]


def test_seven_kills_hit_everything_once() -> None:
    targets = [blow.target for blow in plan(Random(7), 7) if not blow.freeze]

    assert sorted(targets) == sorted(TARGETS)


def test_a_plan_is_made_of_as_many_kills_as_asked_for() -> None:
    kills = [blow for blow in islice(plan(Random(7), 30), 100) if not blow.freeze]

    assert len(kills) == 30
