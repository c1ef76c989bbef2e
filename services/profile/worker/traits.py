"""Keeps traits true as time passes, and walks through the profiles for new and removed ones."""

import structlog

from mesh import metrics
from mesh.errors import MeshError
from mesh.server import Stopping
from services.profile.store.traits import TraitDues, TraitWalks

log = structlog.get_logger(__name__)

# A value is as exact as a quarter of an hour; a second more is nothing.
_EVERY_SECONDS = 1.0
# So many at a time that nobody waits long for the people it holds.
_PEOPLE_MAX = 500


class TraitKeeper:
    """Looks at people who are due, and takes walks further."""

    def __init__(self, dues: TraitDues, walks: TraitWalks, *, limit: int = _PEOPLE_MAX) -> None:
        """Take what to do, `limit` people at a time."""
        self._dues = dues
        self._walks = walks
        self._limit = limit

    async def run(self, stopping: Stopping) -> None:
        """Keep traits until told to stop."""
        while not stopping.is_set():
            busy = False
            try:
                busy = await self.run_once()
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="profile_traits").inc()
                log.warning("keeping_traits_failed", reason=error.message)
            if not busy:
                await stopping.wait(_EVERY_SECONDS)

    async def run_once(self) -> bool:
        """Do a batch of each; return whether there may be more to do at once."""
        due = await self._dues.run_once(limit=self._limit)
        metrics.BATCH_SIZE.labels(worker="profile_traits").observe(due)
        # Both in turn: a walk through millions must not make the others late.
        walked = await self._walks.step(limit=self._limit)
        return walked or due == self._limit
