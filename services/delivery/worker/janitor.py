"""Keeps the house: gives up what a lost worker may have sent, forgets what is old, measures."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.metrics import DELIVERIES, OLDEST_DUE_SECONDS, WORKER_FAILURES
from mesh.server import Stopping
from services.delivery.model import Channel
from services.delivery.store import DeliveryStore, ErasureStore

log = structlog.get_logger(__name__)

_LAPSE_MAX = 500
# Short deletes: each holds its locks for milliseconds.
_FORGET_MAX = 2000
_FORGET_EVERY = timedelta(minutes=10)
# Longer than a call from trigger can be under way; not longer than profile refuses events.
_MARKED_FOR = timedelta(days=1)


class Janitor:
    """Looks after the table at every poll."""

    def __init__(
        self,
        store: DeliveryStore,
        erasures: ErasureStore,
        clock: Clock,
        *,
        repeat_safe: Mapping[Channel, bool],
        poll: timedelta,
        retention: timedelta,
    ) -> None:
        """Take which channels' providers drop repeats."""
        self._store = store
        self._erasures = erasures
        self._clock = clock
        self._repeat_safe = repeat_safe
        self._poll = poll.total_seconds()
        self._retention = retention
        self._forgot = clock.now() - _FORGET_EVERY

    async def run(self, stopping: Stopping) -> None:
        """Look until it is time to end."""
        while True:
            try:
                await self.run_once()
            except MeshError as error:
                WORKER_FAILURES.labels("delivery_janitor").inc()
                log.warning("janitor_failed", problem=error.message)
            if await stopping.wait(self._poll):
                return

    async def run_once(self) -> None:
        """Look once."""
        now = self._clock.now()
        for channel, repeat_safe in self._repeat_safe.items():
            label = channel.name.lower()
            if not repeat_safe:
                lapsed = await self._store.lapse(channel, now=now, limit=_LAPSE_MAX)
                if lapsed:
                    DELIVERIES.labels(label, "unknown").inc(lapsed)
                    log.warning("deliveries_lapsed", channel=label, deliveries=lapsed)
            oldest = await self._store.oldest_due(channel)
            age = 0.0 if oldest is None else (now - oldest).total_seconds()
            OLDEST_DUE_SECONDS.labels(f"delivery_{label}").set(max(0.0, age))
        if now - self._forgot >= _FORGET_EVERY:
            await self._erasures.forget(now - _MARKED_FOR)
            forgotten = await self._store.forget(now - self._retention, _FORGET_MAX)
            if forgotten < _FORGET_MAX:
                self._forgot = now
