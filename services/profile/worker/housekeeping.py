"""What profile does unasked: makes the weeks of the history ahead, forgets old answers."""

from datetime import UTC, datetime, timedelta

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from services.profile.store import Observations

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 600.0
# So much at a time that nobody waits for its locks.
_FORGET_MAX = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(weeks=1)


class Housekeeper:
    """Keeps the tables ready and small."""

    def __init__(
        self, store: Observations, clock: Clock, *, weeks_ahead: int, answers_kept: timedelta
    ) -> None:
        """Take what to keep in order, and how far."""
        self._store = store
        self._clock = clock
        self._weeks_ahead = weeks_ahead
        self._answers_kept = answers_kept

    async def run(self, stopping: Stopping) -> None:
        """Keep house until told to stop."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except MeshError as error:
                # Nothing waits for us: a batch makes a missing week itself.
                metrics.WORKER_FAILURES.labels(worker="profile_housekeeper").inc()
                log.warning("housekeeping_failed", reason=error.message)
            await stopping.wait(_EVERY_SECONDS)

    async def run_once(self) -> None:
        """Make the weeks from this one on, and forget answers that nobody will ask for again."""
        now = self._clock.now()
        week = (now - _EPOCH) // _WEEK
        await self._store.make_weeks(range(week, week + self._weeks_ahead + 1))
        while (
            await self._store.forget_answers(before=now - self._answers_kept, limit=_FORGET_MAX)
            == _FORGET_MAX
        ):
            pass
