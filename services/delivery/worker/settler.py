"""Writes what deliveries became, in batches, and tells the relay."""

import asyncio
from collections.abc import Callable

import structlog

from mesh.clock import Clock
from mesh.errors import Aborted, Unavailable
from mesh.metrics import BATCH_SIZE, WORKER_FAILURES
from mesh.server import Stopping
from services.delivery.model import News, Settled
from services.delivery.store import DeliveryStore
from services.delivery.worker.relay import RELAY_LEASE

log = structlog.get_logger(__name__)

_BATCH_MAX = 1000
# A statement for 100 rows costs a tenth per row of one for 5; nobody waits for a settlement,
# but a crash before it costs a repeat.
_LINGER = 0.05
# While the database is away.
_PAUSE = 0.5

_size = BATCH_SIZE.labels("delivery_settle")


class Settler:
    """Takes results one by one, writes them by hundreds."""

    def __init__(
        self, store: DeliveryStore, clock: Clock, *, tell: Callable[[list[News]], None]
    ) -> None:
        """Take where results are written and who is told of ends."""
        self._store = store
        self._clock = clock
        self._tell = tell
        self._waiting: list[tuple[Settled, Callable[[], None]]] = []
        self._wake = asyncio.Event()
        self._done = asyncio.Event()
        self._ended = asyncio.Event()

    def put(self, settled: Settled, written: Callable[[], None]) -> None:
        """Take a result; `written` is called when it is safe."""
        self._waiting.append((settled, written))
        self._wake.set()

    def finish(self) -> None:
        """Write what there is and end: no more comes."""
        self._done.set()
        self._wake.set()

    async def run(self, stopping: Stopping) -> None:
        """Write until told that no more comes."""
        del stopping  # the lanes end first and say so by `finish`
        while not (self._done.is_set() and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            if not self._done.is_set() and len(self._waiting) < _BATCH_MAX:
                await asyncio.sleep(_LINGER)
            while self._waiting:
                await self.flush()

        self._ended.set()

    async def finished(self) -> None:
        """Return when all is written."""
        await self._ended.wait()

    async def flush(self) -> None:
        """Write one batch; keep it when the database is away."""
        batch = self._waiting[:_BATCH_MAX]
        if not batch:
            return
        now = self._clock.now()
        try:
            count, news = await self._store.settle(
                [settled for settled, _ in batch], now=now, relay_until=now + RELAY_LEASE
            )
        except (Unavailable, Aborted) as error:
            # The lease outlives a restart of the database; after it another worker takes them.
            WORKER_FAILURES.labels("delivery_settle").inc()
            log.warning("settle_failed", deliveries=len(batch), problem=error.message)
            await asyncio.sleep(_PAUSE)
            return
        del self._waiting[: len(batch)]
        _size.observe(len(batch))
        if count < len(batch):
            log.info("settlements_superseded", deliveries=len(batch) - count)
        for _, written in batch:
            written()
        self._tell(news)
