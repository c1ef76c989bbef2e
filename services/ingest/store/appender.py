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


class Appender:
    """Group commit: while one append is under way, what comes is gathered for the next.

    One at a time, so that records stay in the order in which they were handed
    over: a person's events may not overtake each other.
    """

    def __init__(self, event_log: EventLog) -> None:
        """Append to `event_log`."""
        self._log = event_log
        self._waiting: list[tuple[Records, asyncio.Future[None]]] = []
        self._wake = Wake()

    def append(self, records: Records) -> "asyncio.Future[None]":
        """Hand over records; the future is done when they are durable, or says why not."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((records, done))
        self._wake.ring()
        return done

    async def run(self, stopping: Stopping) -> None:
        """Append what comes until told to stop; nothing handed over before is left behind."""
        while not stopping.is_set():
            await self._wake.wait(stopping)
            await self._append_all()
        await self._append_all()

    async def _append_all(self) -> None:
        gathered, self._waiting = self._waiting, []
        if not gathered:
            return
        records = [record for some, _ in gathered for record in some]
        started = perf_counter()
        try:
            await self._log.append(records)
        except MeshError as error:
            # Each caller is told; who repeats is recognised.
            for _, done in gathered:
                if not done.done():
                    done.set_exception(error)
                    # A caller that went away does not ask.
                    done.exception()
            return
        LOG_APPEND_SECONDS.observe(perf_counter() - started)
        BATCH_SIZE.labels(worker="appender").observe(len(records))
        for _, done in gathered:
            if not done.done():
                done.set_result(None)
