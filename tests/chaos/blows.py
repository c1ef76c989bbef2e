"""What is done to whom, and when: a plan from a seed, and its execution."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from time import perf_counter
from typing import NamedTuple

import psutil

from stack.plan import POSTGRES, REDIS, SERVICES
from stack.up import Stack

TARGETS = (*SERVICES, POSTGRES, REDIS)

# Of the blows beside the kills: a process that stands still holds its locks and connections.
_FREEZES_PER_KILL = 0.3


class Blow(NamedTuple):
    """One act of violence, `wait` seconds after the one before."""

    wait: float
    target: str
    freeze: float
    """Seconds that it stands still; 0: it is killed instead."""


def plan(random: Random, kills: int, *, targets: Sequence[str] = TARGETS) -> Iterator[Blow]:
    """Yield blows, `kills` of them deadly: every target in turn, in another order each round."""
    left: list[str] = []
    for _ in range(kills):
        left = left or random.sample(targets, len(targets))
        if random.random() < _FREEZES_PER_KILL:
            yield Blow(random.uniform(0.1, 2.0), random.choice(targets), random.uniform(1.0, 3.0))
        # Some at once, so that two are down together.
        yield Blow(random.choice((0.05, random.uniform(0.2, 4.0))), left.pop(), 0.0)


async def strike(stack: Stack, blows: Iterator[Blow], tell: Callable[[str], None]) -> int:
    """Carry the blows out; return how many were kills, once all is up again."""
    kills = 0
    async with asyncio.TaskGroup() as group:
        for blow in blows:
            await asyncio.sleep(blow.wait)
            await stack.wait_until_up(blow.target)
            if blow.freeze:
                tell(f"freeze {blow.target} for {blow.freeze:.1f} s")
                group.create_task(_freeze(stack.pid(blow.target), blow.freeze))
                continue
            kills += 1
            tell(f"kill {kills} {blow.target}")
            stack.kill(blow.target)
            group.create_task(_await_return(stack, blow.target, tell))
    for name in TARGETS:
        await stack.wait_until_up(name)
    return kills


async def _await_return(stack: Stack, name: str, tell: Callable[[str], None]) -> None:
    begun = perf_counter()
    await stack.wait_until_up(name)
    tell(f"     {name} is back after {perf_counter() - begun:.1f} s")


async def _freeze(pid: int, seconds: float) -> None:
    """Let a process and its descendants stand still; whichever of them lives goes on after."""
    # Parents first: one that runs would start a child for the one that stands still.
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        one = psutil.Process(pid)
        family = [one, *one.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.resume()
