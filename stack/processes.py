"""One child process that cannot outlive us, with its output in a file."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter, sleep

import psutil

_LAUNCHER = Path(__file__).with_name("launch.py")

# How often we look whether a process ended; waiting costs one system call a look.
LOOK = 0.01

# A process that was killed can only hang in the kernel, on a disk that does not answer.
_DEATH_LIMIT = 2.0


class Child:
    """A running process, tied to our life by the kernel.

    Of our own death, even by SIGKILL, it hears by `death_signal`. It leads a session of its own, so
    that Ctrl-C on the terminal reaches only us and we choose the order of stopping.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Take charge of a process that `start` made."""
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process id, also of the program itself: nothing stands between."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs."""
        return self._process.poll()

    async def wait(self, limit: float | None = None) -> int | None:
        """Wait until it ended, or until `limit` seconds passed: then None."""
        # Polled, not watched by the loop: a test's server outlives the loop that started it.
        waited = 0.0
        while self.exit_code is None and (limit is None or waited < limit):
            await asyncio.sleep(LOOK)
            waited += LOOK
        return self.exit_code

    async def stop(self, sign: int = signal.SIGTERM, *, grace: float = 10.0) -> int:
        """Ask it to end; after `grace` seconds, end it. Its descendants go with it."""
        family = descendants(self.pid)
        if self.exit_code is None:
            self._process.send_signal(sign)
        if await self.wait(grace) is None:
            self._process.kill()
        code = self._process.wait()
        end_all([*family, *_session(self.pid)])
        return code

    def kill(self) -> None:
        """End it and all its descendants at once, as kill -9 does."""
        family = descendants(self.pid)
        self._process.kill()
        self._process.wait()
        end_all([*family, *_session(self.pid)])


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    death_signal: int = signal.SIGKILL,
    unroot: Path | None = None,
    folder: Path | None = None,
) -> Child:
    """Start a command with its output appended to `log`.

    With `unroot` it does not run as root, and may use the folder named there (see `launch`).
    """
    launch = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(death_signal))]
    if unroot is not None:
        launch.append(str(unroot))
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*launch, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else None,
            cwd=folder,
            start_new_session=True,
        )
    return Child(process, log)


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    # Enough for twenty long lines; a log may be gigabytes.
    size = 16_384
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - size))
            text = source.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def descendants(pid: int) -> list[psutil.Process]:
    """Return the processes below `pid`, without itself."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _session(pid: int) -> list[psutil.Process]:
    """Return who is left of the session that a process led, should it be gone itself."""
    return [member for member in psutil.process_iter() if _session_of(member.pid) == pid]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def end_all(family: Sequence[psutil.Process]) -> None:
    """End what is left of the processes, and see them gone; psutil knows a reused process id."""
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    given_up = perf_counter() + _DEATH_LIMIT
    while any(map(lives, family)) and perf_counter() < given_up:
        # Not the loop's sleep: a kill is done when it returns. The kernel takes milliseconds.
        sleep(0.002)


def lives(process: psutil.Process) -> bool:
    """Say whether a process is there and more than a name in the table."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
