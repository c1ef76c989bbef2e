"""What keeps trigger small and watched: retention, trimming the log, gauges."""

from datetime import datetime, timedelta

import structlog

from mesh import metrics, replies
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.eventlog import EventLog
from mesh.postgres import Database
from mesh.server import Stopping
from services.trigger.store import (
    BroadcastStore,
    EnrollmentStore,
    PositionStore,
    QuarantineStore,
    RegionStore,
    RequestStore,
    VersionStore,
)
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.watches import WatchSweep

log = structlog.get_logger(__name__)

# Ids of requests are remembered as long as those of events.
_REQUESTS_KEPT = timedelta(days=7)
# Small batches: nobody waits for their locks.
_FORGET_MAX = 1000
_WATCH_SECONDS = 5.0


class Housekeeping:
    """Does, now and then, what no event waits for."""

    def __init__(
        self,
        *,
        database: Database,
        enrollments: EnrollmentStore,
        positions: PositionStore,
        quarantine: QuarantineStore,
        requests: RequestStore,
        watches: WatchSweep,
        partitions: Partitions,
        log_: EventLog,
        clock: Clock,
        retention: timedelta,
        log_retention: timedelta,
        every: timedelta,
    ) -> None:
        """Take what is kept in order, and how long."""
        self._database = database
        self._enrollments = enrollments
        self._positions = positions
        self._quarantine = quarantine
        self._requests = requests
        self._watches = watches
        self._partitions = partitions
        self._log = log_
        self._clock = clock
        self._versions = VersionStore(database)
        self._regions = RegionStore(database)
        self._broadcasts = BroadcastStore(database)
        self._retention = retention
        self._log_retention = log_retention
        self._every = every
        # Partition → (when, how far it was judged then), the oldest first.
        self._marks: list[tuple[datetime, dict[int, str]]] = []

    async def run(self, stopping: Stopping) -> None:
        """Keep house until told to stop."""
        swept = None
        while not stopping.is_set():
            now = self._clock.now()
            try:
                await self.watch()
                if swept is None or now - swept >= self._every:
                    await self.sweep()
                    swept = now
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="housekeeping").inc()
                log.warning("housekeeping_failed", reason=error.message)
            await stopping.wait(_WATCH_SECONDS)

    async def watch(self) -> None:
        """Set the gauges that operators look at."""
        now = self._clock.now()
        held = self._partitions.positions()
        oldest = await self._log.oldest_unread(held) if held else {}
        age = max(((now - moment).total_seconds() for moment in oldest.values()), default=0.0)
        metrics.OLDEST_DUE_SECONDS.labels(queue="log").set(max(0.0, age))
        count, since = await self._enrollments.owed()
        metrics.OLDEST_DUE_SECONDS.labels(queue="sends").set(
            (now - since).total_seconds() if count and since else 0.0
        )

    async def sweep(self) -> None:
        """Delete what is past its time, and let those go on whose campaign goes on."""
        for step in (
            self._watches.run_once,
            self._wake,
            self._forget,
            self._forget_broadcasts,
            self._forget_undos,
            self._forget_presences,
            self._forget_replies,
            self._forget_requests,
            self._drop_versions,
            self._trim,
        ):
            try:
                await step()
            except MeshError as error:
                # One that cannot be done must not keep the others from being done.
                metrics.WORKER_FAILURES.labels(worker="housekeeping").inc()
                log.warning("sweep_failed", step=step.__name__.strip("_"), reason=error.message)

    async def _wake(self) -> None:
        now = self._clock.now()
        for workspace, campaign in await self._enrollments.held():
            await self._enrollments.wake_held(workspace, campaign, now)

    async def _forget(self) -> None:
        before = self._clock.now() - self._retention
        while await self._enrollments.forget(before, limit=_FORGET_MAX):
            pass

    async def _forget_broadcasts(self) -> None:
        before = self._clock.now() - self._retention
        while await self._broadcasts.forget(before, limit=_FORGET_MAX):
            pass

    async def _forget_undos(self) -> None:
        before = self._clock.now() - self._retention
        while await self._enrollments.forget_undos(before, limit=_FORGET_MAX):
            pass

    async def _forget_presences(self) -> None:
        before = self._clock.now() - self._retention
        while await self._regions.forget_presences(before, limit=_FORGET_MAX):
            pass

    async def _forget_requests(self) -> None:
        before = self._clock.now() - _REQUESTS_KEPT
        while await self._requests.forget(before, limit=_FORGET_MAX):
            pass

    async def _forget_replies(self) -> None:
        async with self._database.connection() as connection:
            await replies.forget(connection)

    async def _drop_versions(self) -> None:
        await self._versions.drop_unused(self._clock.now())

    async def _trim(self) -> None:
        """Let go of what was judged a retention ago, by the position of then."""
        now = self._clock.now()
        self._marks.append((now, await self._positions.read()))
        past = [mark for mark in self._marks if mark[0] <= now - self._log_retention]
        if not past:
            return
        self._marks = self._marks[len(past) :]
        for partition in self._partitions.held:
            position = past[-1][1].get(partition, "")
            if position:
                await self._log.trim(partition, position)
