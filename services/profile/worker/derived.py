"""Relays the events that profile owes to the log: in their order, until taken."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import groupby
from typing import TypeAlias

import structlog

from mesh import metrics
from mesh.errors import MeshError
from mesh.server import Stopping
from services.profile.clients import Ingest
from services.profile.model.changes import DerivedEvent
from services.profile.store.derived_events import DerivedEvents
from services.profile.store.leases import Lease

log = structlog.get_logger(__name__)

# Longer than a call to ingest can take: whoever falls silent in one has ended it before another
# begins.
LEASE_SPAN = timedelta(seconds=30)
# What ingest takes in one call: a person of a hundred ids is told of in many kilobytes.
_BATCH = 500
_BYTES_MAX = 1 << 20
_POLL_SECONDS = 0.5
# While ingest is away: twice as long each time, up to the longest.
_AWAY_LONGEST_SECONDS = 10.0

Owed: TypeAlias = tuple[int, DerivedEvent]
"""An event and its number."""


class DerivedEventRelay:
    """Of all replicas one relays at a time: two would overtake each other."""

    def __init__(self, owed: DerivedEvents, ingest: Ingest, lease: Lease) -> None:
        """Take what is owed, who takes it, and the lease on relaying it."""
        self._owed = owed
        self._ingest = ingest
        self._lease = lease

    async def run(self, stopping: Stopping) -> None:
        """Relay until told to stop."""
        pause = _POLL_SECONDS
        while not stopping.is_set():
            try:
                while await self.run_once() and not stopping.is_set():
                    pass
                pause = _POLL_SECONDS
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="derived_events").inc()
                log.warning("relay_failed", reason=error.message)
                pause = min(2 * pause, _AWAY_LONGEST_SECONDS)
            await stopping.wait(pause)
        await self._release()

    async def run_once(self) -> int:
        """Relay a batch; return how many events of it are settled now.

        Raises:
            MeshError: ingest or the database is away; what it did not take stays owed.
        """
        settled = 0
        if not await self._lease.take():
            return settled
        owed = await self._owed.oldest(_BATCH)
        for workspace, those in groupby(owed, key=lambda one: one[1].workspace):
            for batch in _calls(those):
                # Anew for each call: all of them may take longer than we have it.
                if not await self._lease.take():
                    return settled
                await self._ingest.take(workspace, [event for _, event in batch])
                # A crash before this line repeats them, by the same ids.
                await self._owed.settle([derived_id for derived_id, _ in batch])
                settled += len(batch)
        return settled

    async def _release(self) -> None:
        try:
            await self._lease.release()
        except MeshError:
            # It runs out by itself.
            return


def _calls(owed: Iterable[Owed]) -> Iterator[list[Owed]]:
    """Yield what goes into one call each, in order."""
    batch: list[Owed] = []
    size = 0
    for one in owed:
        size += len(one[1].properties)
        if batch and size > _BYTES_MAX:
            yield batch
            batch, size = [], len(one[1].properties)
        batch.append(one)
    yield batch
