"""What is done to whom, and when: a plan from a seed, and its execution."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from random import Random
from time import perf_counter
from typing import NamedTuple

import psutil

from tests.chaos.herd import EXTRA_TARGETS, TARGETS, TWINS, Herd, names

# Of the blows beside the kills: a process that stands still holds its locks and connections.
_FREEZES_PER_KILL = 0.3

# Soon enough to find the one that was hit before still down.
_AT_ONCE = 0.05

# Longer than any lease of the run: others have taken the work over when it wakes up.
_COMA = (6.0, 8.0)
_COMAS_PER_KILL = 0.15


class Blow(NamedTuple):
    """One act of violence, `wait` seconds after the one before."""

    wait: float
    target: str
    freeze: float
    """Seconds that it stands still; 0: it is killed instead."""


def plan(random: Random, kills: int) -> Iterator[Blow]:
    """Yield blows, `kills` of them deadly: every target in turn, in another order each round."""
    left: list[str] = []
    for number in range(kills):
        # The second processes come to it once everything else was hit.
        targets = TARGETS if number < len(TARGETS) else names()
        left = left or random.sample(targets, len(targets))
        if random.random() < _FREEZES_PER_KILL:
            yield Blow(random.uniform(0.1, 2.0), random.choice(targets), random.uniform(1.0, 3.0))
        if random.random() < _COMAS_PER_KILL:
            target = random.choice((*TWINS, *EXTRA_TARGETS))
            yield Blow(random.uniform(0.1, 2.0), target, random.uniform(*_COMA))
        # Some at once, so that two are down together.
        yield Blow(random.choice((_AT_ONCE, random.uniform(0.2, 4.0))), left.pop(), 0.0)


async def strike(
    herd: Herd,
    blows: Iterator[Blow],
    tell: Callable[[str], None],
    *,
    breath: Callable[[int], Awaitable[None]],
) -> int:
    """Carry the blows out; return how many were kills, once all is up again.

    `breath` is told how many kills there were and waits until there is something to hit again;
    blows that come at once do not wait for it.
    """
    kills = 0
    async with asyncio.TaskGroup() as group:
        for blow in blows:
            if blow.wait > _AT_ONCE:
                await breath(kills)
            await asyncio.sleep(blow.wait)
            await herd.wait_until_up(blow.target)
            if blow.freeze:
                tell(f"freeze {blow.target} for {blow.freeze:.1f} s")
                group.create_task(_freeze(herd.pid(blow.target), blow.freeze))
                continue
            kills += 1
            tell(f"kill {kills} {blow.target}")
            herd.kill(blow.target)
            group.create_task(_await_return(herd, blow.target, tell))
    for name in names():
        await herd.wait_until_up(name)
    return kills


async def _await_return(herd: Herd, name: str, tell: Callable[[str], None]) -> None:
    begun = perf_counter()
    await herd.wait_until_up(name)
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
