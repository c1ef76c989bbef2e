"""Gives quarantined events another try, when somebody asks for it."""

import structlog

from mesh import metrics
from mesh.errors import MeshError
from mesh.eventlog import EventLog
from mesh.server import Stopping
from services.trigger.convert.events import replayed
from services.trigger.store import LostPartition, QuarantineStore
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.turns import Turns

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
_BATCH_MAX = 100


class Replays:
    """Replays what is marked, for the partitions that this worker holds."""

    def __init__(
        self, *, store: QuarantineStore, log_: EventLog, turns: Turns, partitions: Partitions
    ) -> None:
        """Take what a replay needs."""
        self._store = store
        self._log = log_
        self._turns = turns
        self._partitions = partitions

    async def run(self, stopping: Stopping) -> None:
        """Replay until told to stop."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except (MeshError, LostPartition) as error:
                metrics.WORKER_FAILURES.labels(worker="replays").inc()
                log.warning("replay_failed", reason=str(error))
            await stopping.wait(_LOOK_SECONDS)

    async def run_once(self) -> int:
        """Replay what is marked now, at most a batch of it; return how many events."""
        held = self._partitions.held
        rows = await self._store.marked(held, limit=_BATCH_MAX) if held else []
        # What profile has not observed goes back into the log, and comes round again whole. A
        # crash before it is removed repeats it, which profile recognises.
        unobserved = [row for row in rows if not row.observed]
        if unobserved:
            await self._log.append([(row.partition, row.payload) for row in unobserved])
            await self._store.remove([row.id for row in unobserved])
        observed = [row for row in rows if row.observed]
        if observed:
            await self._turns.replay([(row.id, *replayed(row), row.partition) for row in observed])
        return len(rows)
