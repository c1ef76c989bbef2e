"""Makes sure that the crash test's judge sees what is lost and what is there twice."""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from tests.chaos.blows import plan
from tests.chaos.cast import DELAY, MAIN, Cast, Promise
from tests.chaos.herd import TARGETS
from tests.chaos.verdict import Arrival, Verdict, compare_history, judge

ONE = Promise(workspace=MAIN, campaign="c", events=("e1",), recipient="p", count=1)
NONE = replace(ONE, count=0)
STOPPED = replace(NONE, stopped_by="e2")
ANY_TWO = replace(ONE, events=("e1", "e2", "e3"), count=2)


def arrival(event: str, key: str) -> Arrival:
    return Arrival(MAIN, "c", event, key)


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
