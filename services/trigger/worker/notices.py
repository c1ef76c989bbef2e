"""Tells other services of people who were united, parted or erased, until they have heard it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.clients import Peers
from services.trigger.convert.identities import (
    removal_of,
    to_erase_at_delivery,
    to_erase_at_throttle,
    to_removal,
    to_set_identities,
)
from services.trigger.model import Notice, NoticeKind
from services.trigger.store import NoticeStore, Owed

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0
_BATCH_MAX = 100
# Longer than a call may take with all its retries.
_LEASE = timedelta(seconds=60)
_FIRST_PAUSE = timedelta(seconds=1)
# Who refuses for good is asked on: a person was promised to be forgotten.
_LONGEST_PAUSE = timedelta(minutes=5)


class Notices:
    """Relays what is owed; several workers may do so at once."""

    def __init__(self, *, store: NoticeStore, peers: Peers, clock: Clock) -> None:
        """Take what is needed."""
        self._store = store
        self._peers = peers
        self._clock = clock
        self._wake = Wake()

    def owe(self) -> None:
        """Hear that something may be owed."""
        self._wake.ring()

    async def run(self, stopping: Stopping) -> None:
        """Relay until told to stop."""
        while not stopping.is_set():
            relayed = 0
            try:
                relayed = await self.run_once()
                metrics.NOTICES.set(await self._store.count())
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="notices").inc()
                log.warning("notices_failed", reason=error.message)
            if relayed < _BATCH_MAX:
                await self._wake.wait(stopping, seconds=_LOOK_SECONDS)

    async def run_once(self) -> int:
        """Relay what is due, at most a batch of it; return how many were tried."""
        now = self._clock.now()
        due = await self._store.claim(now, lease_until=now + _LEASE, limit=_BATCH_MAX)
        # Not a TaskGroup: one that is refused must not keep the others.
        results = await asyncio.gather(*map(self._tell, due), return_exceptions=True)
        for notice, result in zip(due, results, strict=True):
            if isinstance(result, BaseException):
                await self._failed(notice, result)
        return len(due)

    async def _tell(self, notice: Notice) -> None:
        await self._store.settle(notice, await self._told(notice))

    async def _told(self, notice: Notice) -> Sequence[Owed]:
        """Have a peer hear it; return what is owed after its answer."""
        match notice.kind:
            case NoticeKind.IDENTITY:
                await self._peers.throttle.set_identities(to_set_identities(notice))
                return ()
            case NoticeKind.ERASE_AT_THROTTLE:
                counts = await self._peers.throttle.erase(to_erase_at_throttle(notice))
                return [(removal_of(notice, "throttle", counts), self._clock.now())]
            case NoticeKind.ERASE_AT_DELIVERY:
                counts = await self._peers.delivery.erase(to_erase_at_delivery(notice))
                return [(removal_of(notice, "delivery", counts), self._clock.now())]
            case NoticeKind.REMOVAL:
                await self._peers.profile.record_erasure(to_removal(notice))
                return ()

    async def _failed(self, notice: Notice, failure: BaseException) -> None:
        if not isinstance(failure, Exception):
            raise failure
        metrics.WORKER_FAILURES.labels(worker="notices").inc()
        reason = failure.message if isinstance(failure, MeshError) else type(failure).__name__
        log.warning("notice_refused", kind=notice.kind.value, reason=reason)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(notice.attempts - 1, 10))
        await self._store.put_off(notice, self._clock.now() + pause)
