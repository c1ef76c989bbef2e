"""Which partitions this worker holds, and how far they are judged."""

from collections.abc import Iterable
from datetime import timedelta

import structlog

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from services.trigger.rules import share
from services.trigger.store import PositionStore

log = structlog.get_logger(__name__)


class Partitions:
    """Leases partitions so that the workers that live hold an even share each."""

    def __init__(
        self,
        store: PositionStore,
        clock: Clock,
        *,
        worker: str,
        count: int,
        lease: timedelta,
    ) -> None:
        """Lease under the name of `worker`."""
        self._store = store
        self._clock = clock
        self._worker = worker
        self._count = count
        self._lease = lease
        self._positions: dict[int, str] = {}

    @property
    def held(self) -> list[int]:
        """The partitions that this worker holds."""
        return sorted(self._positions)

    def positions(self, partitions: Iterable[int] | None = None) -> dict[int, str]:
        """Return how far the partitions held are judged; only those of `partitions` if given."""
        if partitions is None:
            return dict(self._positions)
        return {one: self._positions[one] for one in partitions if one in self._positions}

    def moved(self, positions: dict[int, str]) -> None:
        """Remember what a turn committed."""
        for partition, position in positions.items():
            if partition in self._positions:
                self._positions[partition] = position

    async def run(self, stopping: Stopping) -> None:
        """Hold a share until told to stop, then give it back."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except MeshError as error:
                log.warning("leases_not_renewed", reason=error.message)
            await stopping.wait((self._lease / 3).total_seconds())
        try:
            await self._store.release(self._worker)
        except MeshError as error:
            # They run out by themselves.
            log.warning("leases_not_returned", reason=error.message)

    async def run_once(self) -> None:
        """Renew the leases and come closer to an even share."""
        now = self._clock.now()
        until = now + self._lease
        owners, workers = await self._store.renew(self._worker, now, until)
        owners = {
            partition: owner for partition, owner in owners.items() if partition < self._count
        }
        wanted = share(owners, self._worker, workers=workers)
        if wanted.release:
            # First for ourselves: a turn that is under way still commits or is told that it lost.
            for partition in wanted.release:
                self._positions.pop(partition, None)
            await self._store.release(self._worker, wanted.release)
        if wanted.take:
            await self._store.take(self._worker, wanted.take, now, until)
            owners, _ = await self._store.renew(self._worker, now, until)
        await self._adopt([one for one, owner in owners.items() if owner == self._worker])

    async def recheck(self) -> None:
        """Read anew how far the partitions held are judged, after somebody else moved one."""
        self._positions.clear()
        await self.run_once()

    async def _adopt(self, held: list[int]) -> None:
        held = [one for one in held if one < self._count]
        new = [partition for partition in held if partition not in self._positions]
        for gone in set(self._positions) - set(held):
            del self._positions[gone]
        if new:
            self._positions.update(await self._store.read(new))
            log.info("partitions_held", worker=self._worker, partitions=len(self._positions))
