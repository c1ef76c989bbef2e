"""Keeps a rendering child at work, and finds the culprit when one dies."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

import msgspec
import structlog

from services.delivery.model import Source
from services.delivery.render.wire import (
    OUT_OF_MEMORY,
    Fault,
    Finding,
    Job,
    Rendered,
    Reply,
    Texts,
    Work,
    texts_of,
)

log = structlog.get_logger(__name__)

_HEAD = 4
# The timer, the stack's end, the top level's MemoryError.
_DESERVED = frozenset({-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGSEGV, OUT_OF_MEMORY})
# From the end of its socket to the end of the process.
_GOING_SECONDS = 0.05
# Answers of a whole batch pass at once.
_BUFFER = 1 << 20
# Templates a child holds compiled; past it the child forgets all and begins anew.
_TEMPLATES_MAX = 1000
# So many deliveries of one template that each cost too much say that the template does.
_STRIKES_MAX = 3
# Turns of one template that cost too much, in search of who is to blame. Two messages among five
# hundred are found within so many; a template that needs more is too slow altogether.
_DEATHS_MAX = 20
# Then it keeps nobody waiting for a while.
_REST_SECONDS = 600.0


_TOO_COSTLY = Rendered(fault=Fault.TEMPLATE_TOO_COSTLY)


class RenderUnavailable(Exception):
    """The child did not answer in time although it used little of a processor: try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLimits:
    """What one turn of the child may take."""

    cpu: timedelta = timedelta(seconds=1)
    """Of a processor. A message alone that takes more is refused."""
    wall: timedelta = timedelta(seconds=30)
    """Of time: on an overloaded machine a second of a processor can take long."""
    memory_bytes: int = 512 << 20
    """Address space, the interpreter's 100 MiB included."""
    output_bytes: int = 1 << 20
    """Of one rendered part."""


class _DiedError(Exception):
    """The child ended in the middle of a turn."""

    def __init__(self, code: int | None) -> None:
        super().__init__()
        self.deserved = code in _DESERVED
        """By its own limits."""


@dataclass(slots=True)
class _Tally:
    """What the search for culprits has come to, by template."""

    strikes: Counter[str] = field(default_factory=Counter)
    """Messages that cost too much alone."""
    deaths: Counter[str] = field(default_factory=Counter)
    """Turns of nothing else that did."""

    def condemns(self, template: str) -> bool:
        slow = self.deaths[template] >= _DEATHS_MAX
        return slow or self.strikes[template] >= _STRIKES_MAX


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Renderer:
    """A child process, started when needed and started anew when it dies."""

    def __init__(self, limits: RenderLimits) -> None:
        """Take the limits; the child is started on entry."""
        self._limits = limits
        self._lock = asyncio.Lock()
        self._child: _Child | None = None
        self._known: set[str] = set()
        # Template → until when nobody waits for it.
        self._resting: dict[str, float] = {}
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._encode = msgspec.msgpack.Encoder().encode

    async def __aenter__(self) -> Self:
        """Start the child, so that the first message does not wait for it."""
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child."""
        self._kill()

    async def render(self, works: Sequence[Work], sources: Mapping[str, Source]) -> list[Rendered]:
        """Return what each work gives, in order; one that costs too much spoils no other.

        Raises:
            RenderUnavailable: The machine is too busy, or no child can be started.
        """
        async with self._lock:
            now = monotonic()
            self._resting = {one: until for one, until in self._resting.items() if until > now}
            awake = [work for work in works if work.template not in self._resting]
            rendered = await self._render(awake, sources, _Tally())
            result_of = {id(work): one for work, one in zip(awake, rendered, strict=True)}
            return [result_of.get(id(work), _TOO_COSTLY) for work in works]

    async def lint(self, source: Source) -> list[Finding]:
        """Return the mistakes in a template; one that costs too much is a finding too."""
        async with self._lock:
            job = Job(self._limits.cpu.total_seconds(), {"": texts_of(source)}, lint=True)
            try:
                return (await self._turn(job)).findings
            except _DiedError:
                return [Finding("", 1, "takes too much to render", [], costly=True)]

    async def _render(
        self, works: list[Work], sources: Mapping[str, Source], tally: _Tally
    ) -> list[Rendered]:
        if not works:
            return []
        if all(tally.condemns(work.template) for work in works):
            return [_TOO_COSTLY for _ in works]
        try:
            try:
                return (await self._turn(self._job(works, sources))).rendered
            except _DiedError as death:
                if death.deserved:
                    raise
                # Somebody else ended it, the kernel for want of memory perhaps: once more.
                return (await self._turn(self._job(works, sources))).rendered
        except _DiedError:
            self._blame(works, tally)
            if len(works) == 1:
                return [_TOO_COSTLY]
        halves = _split(works)
        rendered = {}
        for half in halves:
            for work, result in zip(half, await self._render(half, sources, tally), strict=True):
                rendered[id(work)] = result
        return [rendered[id(work)] for work in works]

    def _blame(self, works: list[Work], tally: _Tally) -> None:
        template = works[0].template
        if any(work.template != template for work in works):
            return
        tally.deaths[template] += 1
        if len(works) == 1:
            tally.strikes[template] += 1
            log.warning("template_too_costly", template=template, strikes=tally.strikes[template])
        if tally.deaths[template] >= _DEATHS_MAX:
            self._resting[template] = monotonic() + _REST_SECONDS
            log.warning("template_rests", template=template, seconds=_REST_SECONDS)

    def _job(self, works: list[Work], sources: Mapping[str, Source]) -> Job:
        needed = {work.template for work in works}
        forget = len(self._known | needed) > _TEMPLATES_MAX
        if forget:
            self._known.clear()
        fresh: dict[str, Texts] = {
            key: texts_of(sources[key]) for key in needed if key not in self._known
        }
        return Job(self._limits.cpu.total_seconds(), fresh, forget, works)

    async def _turn(self, job: Job) -> Reply:
        child = self._child or await self._start()
        content = self._encode(job)
        try:
            async with asyncio.timeout(self._limits.wall.total_seconds()):
                child.writer.write(len(content).to_bytes(_HEAD, "big"))
                child.writer.write(content)
                await child.writer.drain()
                head = await child.reader.readexactly(_HEAD)
                body = await child.reader.readexactly(int.from_bytes(head, "big"))
        except TimeoutError:
            self._kill()
            message = "the rendering child did not answer in time"
            raise RenderUnavailable(message) from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _DiedError(self._kill()) from error
        except BaseException:
            # Half an answer may be on the way.
            self._kill()
            raise
        if not job.lint:
            self._known.update(job.texts)
        return self._decode(body)

    async def _start(self) -> "_Child":
        try:
            process, ours = _spawn(self._limits)
        except OSError as error:
            message = "no rendering child can be started"
            raise RenderUnavailable(message) from error
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER)
        self._known.clear()
        self._child = _Child(process, reader, writer)
        return self._child

    def _kill(self) -> int | None:
        """End the child; return how it ended."""
        child, self._child = self._child, None
        self._known.clear()
        if child is None:
            return None
        child.writer.close()
        try:
            # One that closed its end is about to be gone, and by what says whose fault it was.
            return child.process.wait(_GOING_SECONDS if child.reader.at_eof() else 0)
        except subprocess.TimeoutExpired:
            child.process.kill()
            # Killed: it is gone within the millisecond, and leaves nothing behind.
            return child.process.wait()


def _spawn(limits: RenderLimits) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child; return it and our end of the socket to it.

    Not asyncio's way: on uvloop that forks, and a fork runs gRPC's handlers, which were seen to
    hang while calls are served. This way does not (vfork).
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "services.delivery.render.child",
                str(limits.memory_bytes),
                str(limits.output_bytes),
                str(os.getpid()),
            ],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            # A traceback would hold what was rendered.
            stderr=subprocess.DEVNULL,
            # Nothing of our environment: there are secrets in it.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C.UTF-8"},
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _split(works: list[Work]) -> tuple[list[Work], list[Work]]:
    """Part the works, by template where there are several: mostly one template is to blame."""
    templates = sorted({work.template for work in works})
    if len(templates) > 1:
        first = set(templates[: len(templates) // 2])
        return (
            [work for work in works if work.template in first],
            [work for work in works if work.template not in first],
        )
    middle = len(works) // 2
    return works[:middle], works[middle:]
