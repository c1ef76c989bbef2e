"""Makes sure that what dies comes back, that what cannot live is given up, and that nothing is left."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from stack import supervisor as module
from stack.errors import StackError, StartFailed
from stack.processes import lives
from stack.supervisor import Program, Supervisor
from tests.stack.conftest import Eventually

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
HAS_A_CHILD = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""
SLEEPS_WITH_CHILD = [sys.executable, "-c", HAS_A_CHILD]


async def test_what_dies_comes_back(tmp_path: Path, eventually: Eventually) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start({"one": program(tmp_path, SLEEPS)})
        first = supervisor["one"].pid

        os.kill(first, signal.SIGKILL)
        await eventually(lambda: supervisor.restarts("one") == 1)

        assert supervisor["one"].running
        assert supervisor["one"].pid != first


async def test_what_is_told_to_stay_down_does(tmp_path: Path, eventually: Eventually) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start({"one": program(tmp_path, SLEEPS), "two": program(tmp_path, SLEEPS)})

        supervisor.kill("one", stay_down=True)
        supervisor.kill("two")
        await eventually(lambda: supervisor.restarts("two") == 1)

        assert not supervisor["one"].running


async def test_a_stop_does_not_wait_for_what_is_on_its_way_up(
    tmp_path: Path, eventually: Eventually
) -> None:
    one = program(tmp_path, SLEEPS, ready_after=5)
    async with Supervisor() as supervisor:
        await supervisor.start({"one": one})
        one.ready_after(10**6)
        supervisor.kill("one")
        await eventually(lambda: one.running)

        async with asyncio.timeout(2):
            await supervisor.stop("one")

        assert not one.running


async def test_what_cannot_live_ends_the_block_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DEATHS_MAX", 2)
    flag = tmp_path / "flag"
    flag.touch()
    command = [sys.executable, "-c", LIVES_WHILE.format(flag=flag)]
    one = program(tmp_path, command, ready_after=30)

    async def run() -> None:
        async with Supervisor() as supervisor:
            await supervisor.start({"one": one})
            flag.unlink()
            supervisor.kill("one")
            await asyncio.Event().wait()

    with pytest.raises(StackError, match=r"(?s)one died \d+ times in a row.*the flag is gone"):
        await run()


async def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such setting')"]

    async with Supervisor() as supervisor:
        with pytest.raises(StartFailed, match=r"(?s)one ended with exit code 1.*no such setting"):
            await supervisor.start({"one": program(tmp_path, command, ready_after=100)})


async def test_the_end_leaves_no_descendant(tmp_path: Path, eventually: Eventually) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start({"one": program(tmp_path, SLEEPS_WITH_CHILD)})
        parent = psutil.Process(supervisor["one"].pid)
        await eventually(lambda: bool(parent.children()))
        family = [parent, *parent.children()]

    assert [member for member in family if lives(member)] == []


async def test_a_grandchild_does_not_outlive_its_killed_parent(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start({"one": program(tmp_path, SLEEPS_WITH_CHILD)})
        parent = psutil.Process(supervisor["one"].pid)
        await eventually(lambda: bool(parent.children()))
        (child,) = parent.children()

        parent.kill()
        await eventually(lambda: supervisor.restarts("one") == 1)

        assert not lives(child)


async def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    log = tmp_path / "ignores.log"

    async def ready() -> bool:
        return log.exists() and "up" in log.read_text()

    one = Program(
        "one",
        [sys.executable, "-c", ignores],
        environment=os.environ,
        log=log,
        ready=ready,
        grace=0.2,
    )
    await one.start()
    pid = one.pid

    await one.stop()

    assert not psutil.pid_exists(pid)


async def test_usage_counts_descendants(tmp_path: Path, eventually: Eventually) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start({"one": program(tmp_path, SLEEPS_WITH_CHILD)})

        await eventually(lambda: supervisor.usage("one").processes == 2)

        assert supervisor.usage("one").rss_bytes > 1_000_000


LIVES_WHILE = """
import pathlib, sys, time
if not pathlib.Path("{flag}").exists():
    sys.exit("the flag is gone")
time.sleep(600)
"""


class Slow(Program):
    """A program that is ready after some looks, if it lives as long."""

    def __init__(self, folder: Path, command: list[str], *, looks: int) -> None:
        super().__init__(
            "one",
            command,
            environment=os.environ,
            log=folder / "one.log",
            ready=self.look,
            grace=2,
        )
        self.ready_after(looks)

    def ready_after(self, looks: int) -> None:
        self._needed = looks
        self._left = looks

    async def look(self) -> bool:
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._needed
        return True


def program(folder: Path, command: list[str], *, ready_after: int = 5) -> Slow:
    return Slow(folder, command, looks=ready_after)
