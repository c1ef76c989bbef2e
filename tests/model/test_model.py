"""Holds the engine against a simple reference over thousands of histories drawn by chance.

The seed of a history that differs is printed with the shortest part of it that does; `SEED=7` plays
that one alone, `HISTORIES=100000` plays more.
"""

import os
from collections.abc import Callable

import pytest

from tests.effort import examples
from tests.model.histories import History, draw
from tests.model.played import play
from tests.model.reference import Reference, Sent

SEED = os.environ.get("SEED")
HISTORIES = int(os.environ.get("HISTORIES", examples(2000)))
CHUNKS = 8


def differs(history: History, played: Callable[[History], list[Sent]] = play) -> bool:
    return sorted(played(history)) != sorted(Reference(history).run())


def shortest(history: History) -> History:
    """Return what is left when every step is taken out without which it differs still."""
    index = 0
    while index < len(history.steps):
        less = history.without(index)
        if differs(less):
            history, index = less, 0
        else:
            index += 1
    return history


def told(history: History) -> str:
    least = shortest(history)
    by_engine, expected = sorted(play(least)), sorted(Reference(least).run())
    return "\n".join(
        [
            least.told(),
            *(f"- expected   {one}" for one in expected if one not in by_engine),
            *(f"+ unexpected {one}" for one in by_engine if one not in expected),
        ]
    )


@pytest.mark.parametrize("chunk", range(1 if SEED else CHUNKS))
def test_the_engine_does_what_the_reference_does(chunk: int) -> None:
    seeds = [int(SEED)] if SEED else range(chunk, HISTORIES, CHUNKS)

    for seed in seeds:
        history = draw(seed)
        if differs(history):
            pytest.fail(told(history))


def test_histories_reach_all_that_they_are_about() -> None:
    histories = [draw(seed) for seed in range(500)]

    outcomes = [len(Reference(one).run()) for one in histories]
    assert sum(outcomes) > 300
    assert {step.what for one in histories for step in one.steps} >= {
        "filled",
        "bought",
        "returned",
        "unfilled",
        "again",
        "merge",
        "zone",
        "pause",
        "launch",
    }
