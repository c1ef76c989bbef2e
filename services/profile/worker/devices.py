"""Deletes devices that nobody has seen for very long."""

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from services.profile.store.devices import Devices

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 600.0
# So many at a time that nobody waits long for the people it holds.
_EXPIRE_MAX = 200


class DeviceExpirer:
    """Keeps the devices to those that providers still know."""

    def __init__(self, store: Devices, clock: Clock, *, limit: int = _EXPIRE_MAX) -> None:
        """Take what to go through, in batches of `limit`."""
        self._store = store
        self._clock = clock
        self._limit = limit

    async def run(self, stopping: Stopping) -> None:
        """Delete what is due until told to stop."""
        while not stopping.is_set():
            try:
                await self.run_once(stopping)
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="profile_devices").inc()
                log.warning("expiring_devices_failed", reason=error.message)
            await stopping.wait(_EVERY_SECONDS)

    async def run_once(self, stopping: Stopping) -> int:
        """Delete all that are due; return how many."""
        total = 0
        while not stopping.is_set():
            expired = await self._store.expire(self._clock.now(), limit=self._limit)
            total += expired
            if expired < self._limit:
                break
        return total
