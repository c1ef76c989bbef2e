"""Tells throttle and ingest what ended: at least once, and harmlessly so."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from datetime import timedelta
from itertools import chain

import structlog

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.metrics import OLDEST_DUE_SECONDS, OUTBOX, WORKER_FAILURES
from mesh.server import Stopping
from services.delivery.clients import Hearer
from services.delivery.model import News, Peer
from services.delivery.store import Outbox

log = structlog.get_logger(__name__)

# How long news belong to the process that made them; then any relay takes them.
RELAY_LEASE = timedelta(seconds=30)
# What a peer takes in one call.
_ENDINGS_MAX = 1000
# Nobody waits for a receipt; a call for a hundred costs hardly more than one for one.
_LINGER = 0.05
_CLAIM_MAX = 100
# While a peer is away.
_AWAY = timedelta(seconds=2)
# News in this process's memory, by batches; the rest waits in the table.
_HELD_MAX = 2000


class Relay:
    """One queue and one loop for each peer: one that is away holds up no other."""

    def __init__(
        self, outbox: Outbox, hearers: Mapping[Peer, Hearer], clock: Clock, *, poll: timedelta
    ) -> None:
        """Take the outbox and the peers."""
        self._outbox = outbox
        self._hearers = hearers
        self._clock = clock
        self._poll = poll.total_seconds()
        self._queues: dict[Peer, deque[News]] = {peer: deque() for peer in hearers}
        self._wakes = {peer: asyncio.Event() for peer in hearers}
        self._done: list[int] = []

    def take(self, news: list[News]) -> None:
        """Take news that are this process's to tell."""
        for one in news:
            queue = self._queues[one.peer]
            if len(queue) < _HELD_MAX:
                queue.append(one)
                self._wakes[one.peer].set()

    def forget(self, people: Collection[tuple[str, str]]) -> None:
        """Tell nothing more of these people (workspace, profile id); the table has it no more."""
        for queue in self._queues.values():
            for at, news in enumerate(queue):
                left = [one for one in news.endings if (one.workspace, one.profile) not in people]
                queue[at] = news._replace(endings=left)

    async def run(self, stopping: Stopping) -> None:
        """Tell until it is time to end."""
        async with asyncio.TaskGroup() as group:
            for peer in self._hearers:
                group.create_task(self._tell(peer, stopping))
            group.create_task(self._sweep(stopping))

    async def run_once(self) -> int:
        """Claim what is due, tell it all; return how many batches. For tests."""
        await self._claim()
        told = 0
        for peer in self._hearers:
            while self._queues[peer] and (count := await self._turn(peer)):
                told += count
        return told

    async def _sweep(self, stopping: Stopping) -> None:
        while not await stopping.wait(self._poll):
            try:
                await self._claim()
                depth, oldest = await self._outbox.depth()
            except MeshError as error:
                WORKER_FAILURES.labels("delivery_relay").inc()
                log.warning("outbox_unreadable", problem=error.message)
                continue
            OUTBOX.set(depth)
            age = 0.0 if oldest is None else (self._clock.now() - oldest).total_seconds()
            OLDEST_DUE_SECONDS.labels("delivery_outbox").set(max(0.0, age) if depth else 0.0)

    async def _claim(self) -> None:
        now = self._clock.now()
        while True:
            news = await self._outbox.claim(now, now + RELAY_LEASE, _CLAIM_MAX)
            self.take(news)
            if len(news) < _CLAIM_MAX or sum(map(len, self._queues.values())) >= _HELD_MAX:
                return

    async def _tell(self, peer: Peer, stopping: Stopping) -> None:
        wake = self._wakes[peer]
        ended = asyncio.ensure_future(self._wake_at_end(peer, stopping))  # noqa: TID251 — awaited below
        try:
            while not stopping.is_set():
                await wake.wait()
                wake.clear()
                if not stopping.is_set():
                    await stopping.wait(_LINGER)
                while self._queues[peer] and await self._turn(peer):
                    pass
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def _wake_at_end(self, peer: Peer, stopping: Stopping) -> None:
        await stopping.wait()
        self._wakes[peer].set()

    async def _turn(self, peer: Peer) -> int:
        queue = self._queues[peer]
        batch: list[News] = []
        size = 0
        while queue and (not batch or size + len(queue[0].endings) <= _ENDINGS_MAX):
            size += len(queue[0].endings)
            batch.append(queue.popleft())
        ids = [one.outbox_id for one in batch]
        endings = list(chain.from_iterable(one.endings for one in batch))
        try:
            for start in range(0, len(endings), _ENDINGS_MAX):
                await self._hearers[peer].tell(endings[start : start + _ENDINGS_MAX])
            await self._outbox.done(ids)
        except MeshError as error:
            WORKER_FAILURES.labels("delivery_relay").inc()
            log.warning("news_not_told", peer=peer.name.lower(), problem=error.message)
            await self._later(ids)
            return 0
        return len(batch)

    async def _later(self, ids: list[int]) -> None:
        try:
            await self._outbox.postpone(ids, self._clock.now() + _AWAY)
        except MeshError:
            # Their lease ends by itself.
            log.info("news_left_to_their_lease", batches=len(ids))
