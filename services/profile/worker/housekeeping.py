"""Keeping house: weeks of the history made ahead and dropped, old answers forgotten."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from services.profile.convert.moments import micros
from services.profile.rules.retention import oldest_week
from services.profile.store import Observations
from services.profile.store.erasures import Erasures
from services.profile.store.retention import Retention

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 600.0
# So much at a time that nobody waits for its locks.
_FORGET_MAX = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(weeks=1)


class Forget(Protocol):
    """Forgets at most so many and says how many."""

    def __call__(self, *, limit: int) -> Awaitable[int]:
        """Forget."""
        ...


class Housekeeper:
    """Keeps the tables ready and small."""

    def __init__(
        self,
        store: Observations,
        retention: Retention,
        erasures: Erasures,
        clock: Clock,
        *,
        weeks_ahead: int,
        weeks_kept: int,
        answers_kept: timedelta,
    ) -> None:
        """Take what to keep in order, and how far."""
        self._store = store
        self._retention = retention
        self._erasures = erasures
        self._clock = clock
        self._weeks_ahead = weeks_ahead
        self._weeks_kept = weeks_kept
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
        """Make the weeks from this one on, and let go of what was kept for long enough."""
        now = self._clock.now()
        week = (now - _EPOCH) // _WEEK
        await self._store.make_weeks(range(week, week + self._weeks_ahead + 1))
        await _all_of(partial(self._store.forget_answers, before=now - self._answers_kept))
        await _all_of(self._retention.forget_replies)
        kept_since = now - self._weeks_kept * _WEEK
        await _all_of(partial(self._retention.forget_transfers, kept_since))
        await _all_of(partial(self._erasures.forget_tombstones, now))
        # Last: it may have to wait for somebody who has been reading for long.
        oldest = oldest_week(micros(now), weeks=self._weeks_kept)
        await self._retention.drop_weeks(before=oldest)


async def _all_of(forget: Forget) -> None:
    while await forget(limit=_FORGET_MAX) == _FORGET_MAX:
        pass
