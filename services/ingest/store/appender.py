"""Appends to the event log, all that has gathered at a time."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import TypeAlias

from mesh.errors import MeshError
from mesh.eventlog import EventLog
from mesh.metrics import BATCH_SIZE, LOG_APPEND_SECONDS
from mesh.server import Stopping
from mesh.wake import Wake

Records: TypeAlias = Sequence[tuple[int, bytes]]


# While the server writes one to disk, the next is under way; more only wait there instead of here.
_UNDER_WAY_MAX = 4
# A second of a fast disk: the log is away or too slow, and more would only fill our memory.
_HELD_BYTES_MAX = 64 << 20


class Appender:
    """Group commit: what comes while appends are under way is gathered for the next.

    The log takes appends in the order of the calls, so that a person's events
    do not overtake each other.
    """

    def __init__(self, event_log: EventLog, *, held_bytes_max: int = _HELD_BYTES_MAX) -> None:
        """Append to `event_log`; full when it holds so many bytes."""
        self._log = event_log
        self._held_bytes_max = held_bytes_max
        self._held_bytes = 0
        self._relieved = asyncio.Event()
        self._relieved.set()
        self._waiting: list[tuple[Records, asyncio.Future[None]]] = []
        self._wake = Wake()

    @property
    def full(self) -> bool:
        """Whether so much waits for the log that no more should be taken on."""
        return not self._relieved.is_set()

    async def relieved(self) -> None:
        """Return when it is not full."""
        await self._relieved.wait()

    def append(
        self, records: Records, *, after: "asyncio.Future[None] | None" = None
    ) -> "asyncio.Future[None]":
        """Hand over records; the future is done when they are durable, or says why not.

        They fail when those of `after` did, so that nothing of a stream gets in
        behind a batch that its caller will send again.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if after is not None and after.done() and (error := after.exception()):
            _fail(done, error)
            return done
        self._hold(sum(len(payload) for _, payload in records), done)
        self._waiting.append((records, done))
        self._wake.ring()
        return done

    def _hold(self, size: int, done: "asyncio.Future[None]") -> None:
        def release(_: object) -> None:
            self._held_bytes -= size
            if self._held_bytes < self._held_bytes_max:
                self._relieved.set()

        self._held_bytes += size
        if self._held_bytes >= self._held_bytes_max:
            self._relieved.clear()
        done.add_done_callback(release)

    async def run(self, stopping: Stopping) -> None:
        """Append what comes until told to stop; nothing handed over before is left behind."""
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while not (stopping.is_set() and not self._waiting):
                await self._wake.wait(stopping)
                if len(under_way) >= _UNDER_WAY_MAX:
                    _, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                if self._waiting:
                    under_way.add(tasks.create_task(self._append()))
                under_way = {task for task in under_way if not task.done()}

    async def _append(self) -> None:
        # Taken at the moment the log is called: what fails before that fails these too.
        gathered, self._waiting = self._waiting, []
        if not gathered:
            return
        records = [record for some, _ in gathered for record in some]
        started = perf_counter()
        try:
            await self._log.append(records)
        except MeshError as error:
            # Each caller is told; who repeats is recognised. What was handed over
            # meanwhile may follow on what failed: it fails too.
            behind, self._waiting = self._waiting, []
            for _, done in (*gathered, *behind):
                _fail(done, error)
            return
        LOG_APPEND_SECONDS.observe(perf_counter() - started)
        BATCH_SIZE.labels(worker="appender").observe(len(records))
        for _, done in gathered:
            if not done.done():
                done.set_result(None)


def _fail(done: "asyncio.Future[None]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
        # A caller that went away does not ask.
        done.exception()
