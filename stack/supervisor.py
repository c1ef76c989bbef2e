"""Keeps a set of processes alive, and ends them all."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

import psutil

from stack import processes
from stack.errors import StackError, StartFailed

# How often we look whether something died.
_LOOK = 0.05

# Between a death and the next start: doubled each time, so that a program that cannot live does
# not take the machine with it.
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0

# After this long the earlier deaths are forgiven.
_HEALTHY_AFTER = 30.0

# Deaths in a row until we stop trying: about a minute of trying.
_DEATHS_MAX = 12

_LOG_BYTES_MAX = 64 * 1024 * 1024


class Runnable(Protocol):
    """Something that can be kept alive: a program, or a server of `stack.servers`."""

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        ...

    @property
    def pid(self) -> int:
        """Its process id; StackError if it does not run."""
        ...

    @property
    def log(self) -> Path:
        """Where its output goes."""
        ...

    async def start(self) -> None:
        """Start it; return when it is ready, raise StartFailed when it will not be."""
        ...

    async def stop(self) -> None:
        """End it in good order."""
        ...

    def kill(self) -> None:
        """End it as kill -9 does."""
        ...


class Program:
    """A command with an environment, that is ready when `ready` says so."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        ready: Callable[[], Awaitable[bool]],
        start_limit: float = 30.0,
        grace: float = 10.0,
        advice: str = "",
    ) -> None:
        self.name = name
        self.environment = environment
        self.start_seconds = 0.0
        """How long the last start took, until ready."""
        self._command = command
        self._log = log
        self._ready = ready
        self._start_limit = start_limit
        self._grace = grace
        self._advice = advice
        self._child: processes.Child | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StackError(f"{self.name} is not running")
        return self._child.pid

    @property
    def log(self) -> Path:
        return self._log

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs."""
        return self._child.exit_code if self._child is not None else None

    async def start(self) -> None:
        if self.running:
            return
        if self._child is not None:
            # What it started may have outlived it, and hold its ports.
            self._child.kill()
        begun = perf_counter()
        _rotate(self._log)
        # SIGKILL, should we die: nobody would be left to insist. They bear it at any moment.
        child = processes.start(self._command, log=self._log, environment=self.environment)
        self._child = child
        while not await self._ready():
            if child.exit_code is not None:
                raise self._failed(f"ended with exit code {child.exit_code} instead of serving")
            if perf_counter() - begun > self._start_limit:
                child.kill()
                raise self._failed(f"was not ready after {self._start_limit:.0f} s")
            await asyncio.sleep(processes.LOOK)
        self.start_seconds = perf_counter() - begun

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(grace=self._grace)
            self._child = None

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _failed(self, problem: str) -> StartFailed:
        return StartFailed(
            self.name, problem, log=self._log, tail=processes.tail(self._log), advice=self._advice
        )


@dataclass(slots=True)
class _Kept:
    """One runnable and what we want of it."""

    runnable: Runnable
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    deaths: int = 0
    up_since: float = 0.0
    restarts: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is started or stopped, by whomever."""

    def wanted(self) -> bool:
        """Whether it is to be kept alive."""
        return not self.unwanted.is_set()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its descendants take."""

    rss_bytes: int
    cpu_seconds: float
    processes: int


class Supervisor:
    """Starts runnables, restarts what dies, and stops all at the end of its block."""

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Describe a supervisor; `tell` is called with a line for each death."""
        self._tell = tell
        self._kept: dict[str, _Kept] = {}
        self._group = asyncio.TaskGroup()
        self._companions: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin watching."""
        await self._group.__aenter__()
        self.accompany(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything.

        Raises:
            StackError: Something could not be kept alive, which ended the block before its time.
        """
        del kind, error, traceback
        try:
            await self.stop_all()
        finally:
            for kept in self._kept.values():
                kept.runnable.kill()
            for companion in self._companions:
                companion.cancel()
            await self._end_group()

    @property
    def names(self) -> list[str]:
        """What is kept, in the order of starting."""
        return list(self._kept)

    def __getitem__(self, name: str) -> Runnable:
        """Return the runnable of a name."""
        return self._find(name).runnable

    def restarts(self, name: str) -> int:
        """Return how often it was started again after dying."""
        return self._find(name).restarts

    async def start(self, wave: Mapping[str, Runnable]) -> None:
        """Start some runnables side by side, and keep them alive from now on.

        Raises:
            StartFailed: One did not come up. Those that did are still kept.
        """
        for name, runnable in wave.items():
            self._kept[name] = _Kept(runnable)
            self._kept[name].unwanted.set()
        await self._all(self.start_again(name) for name in wave)

    async def start_again(self, name: str) -> None:
        """Start one that was stopped; return when it is ready."""
        kept = self._find(name)
        async with kept.turn:
            await kept.runnable.start()
            kept.up_since = perf_counter()
            kept.unwanted.clear()

    async def stop(self, name: str) -> None:
        """Stop one in good order, and leave it stopped."""
        kept = self._find(name)
        kept.unwanted.set()
        if kept.turn.locked():
            # On its way up, maybe for a minute: that need not be waited for.
            kept.runnable.kill()
        async with kept.turn:
            await kept.runnable.stop()

    async def restart(self, name: str) -> None:
        """Stop one in good order and start it again; return when it is ready."""
        await self.stop(name)
        await self.start_again(name)

    def kill(self, name: str, *, stay_down: bool = False) -> None:
        """End one as kill -9 does. It comes back by itself, unless told to stay down."""
        kept = self._find(name)
        if stay_down:
            kept.unwanted.set()
        # Asked for: no sign of illness.
        kept.deaths = 0
        kept.runnable.kill()

    async def wait_until_up(self, name: str, *, limit: float = 60.0) -> None:
        """Wait until one that died is ready again.

        Raises:
            StackError: It was not, within `limit` seconds.
        """
        kept = self._find(name)
        begun = perf_counter()
        while not kept.runnable.running or kept.turn.locked():
            if perf_counter() - begun > limit:
                raise StackError(f"{name} did not come back within {limit:.0f} s")
            await asyncio.sleep(_LOOK)

    def accompany(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside, until the end of the block."""
        self._companions.append(self._group.create_task(work))

    async def stop_all(self, names: Iterable[str] | None = None) -> None:
        """Stop some, or all, side by side."""
        await self._all(self.stop(name) for name in (self.names if names is None else list(names)))

    def usage(self, name: str) -> Usage:
        """Return what a process and its descendants take now."""
        return usage_of(self[name].pid)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            for name, kept in self._kept.items():
                if kept.wanted() and not kept.runnable.running and not kept.turn.locked():
                    await kept.turn.acquire()
                    self._group.create_task(self._bring_back(name, kept))

    async def _bring_back(self, name: str, kept: _Kept) -> None:
        """Start one again, after a delay that grows with each death. Owns the turn already."""
        try:
            while kept.wanted():
                if perf_counter() - kept.up_since > _HEALTHY_AFTER:
                    kept.deaths = 0
                delay = min(_FIRST_DELAY * 2**kept.deaths, _LONGEST_DELAY)
                kept.deaths += 1
                self._tell(f"{name} died; starting it again in {delay:.1f} s")
                with suppress(TimeoutError):
                    await asyncio.wait_for(kept.unwanted.wait(), delay)
                if await self._started(name, kept):
                    return
        finally:
            kept.turn.release()

    async def _started(self, name: str, kept: _Kept) -> bool:
        """Say whether nothing is left to do: it runs, or nobody wants it to any more."""
        if not kept.wanted():
            return True
        try:
            await kept.runnable.start()
        except StartFailed as error:
            if kept.wanted() and kept.deaths >= _DEATHS_MAX:
                raise StackError(f"{name} died {kept.deaths} times in a row; {error}") from error
            return False
        kept.restarts += 1
        kept.up_since = perf_counter()
        return True

    async def _end_group(self) -> None:
        try:
            # An error of the block is its own, and none of the group's.
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # What could not live is the news, not that the rest was cancelled for it.
            raise group.exceptions[0] from None

    async def _all(self, works: Iterable[Awaitable[None]]) -> None:
        """Do all; if some fail, raise the first failure once every other has ended."""
        results = await asyncio.gather(*works, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise StackError(f"there is no process {name!r}; there are {', '.join(self._kept)}")
        return self._kept[name]


def usage_of(pid: int) -> Usage:
    """Return what a process and its descendants take now; nothing, if it is gone.

    The memory is the proportional share (PSS) where the kernel tells it, as PostgreSQL's processes
    share most of theirs.
    """
    try:
        family = [psutil.Process(pid), *processes.descendants(pid)]
    except psutil.NoSuchProcess:
        return Usage(0, 0.0, 0)
    rss, cpu, count = 0, 0.0, 0
    for member in family:
        try:
            rss += _memory(member)
            times = member.cpu_times()
            # Of children that ended, too: PostgreSQL's connections come and go.
            cpu += times.user + times.system + times.children_user + times.children_system
            count += 1
        except psutil.NoSuchProcess:
            continue
    return Usage(rss, cpu, count)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _rotate(file: Path) -> None:
    """Keep one older log, so that a stack that runs for weeks does not fill the disk."""
    if file.exists() and file.stat().st_size > _LOG_BYTES_MAX:
        file.replace(file.with_suffix(".old.log"))
