"""Builds segments, looks at who is due, removes what segments have left behind."""

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.server import Stopping
from mesh.wake import Wake
from services.profile.convert.moments import micros
from services.profile.store.segments import Building, Dues

log = structlog.get_logger(__name__)

# Others may have made a segment, or made somebody due earlier: they cannot ring our bell.
_POLL_SECONDS = 1.0
_MICROS = 1_000_000
_AWAY_SECONDS = 2.0


class SegmentBuilder:
    """Walks over profiles for new segments; any number of replicas share the work."""

    def __init__(self, building: Building, clock: Clock, wake: Wake) -> None:
        """Take the walks, and the bell that rings when there is one to begin."""
        self._building = building
        self._clock = clock
        self._wake = wake

    async def run(self, stopping: Stopping) -> None:
        """Build until told to stop."""
        while not stopping.is_set():
            pause = _POLL_SECONDS
            try:
                if await self.run_once():
                    continue
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="segment_builder").inc()
                log.warning("building_failed", reason=error.message)
                pause = _AWAY_SECONDS
            await self._wake.wait(stopping, seconds=pause)

    async def run_once(self) -> bool:
        """Do one piece of whatever there is to do; return whether there was any."""
        await self._building.begin()
        return (
            await self._building.step(micros(self._clock.now()))
            or await self._building.remove_step()
            or await self._building.recount_step()
        )


class SegmentDues:
    """Looks at people when time alone may have moved them; any number of replicas share it."""

    def __init__(self, dues: Dues, clock: Clock) -> None:
        """Take what is due, and the clock."""
        self._dues = dues
        self._clock = clock

    async def run(self, stopping: Stopping) -> None:
        """Look until told to stop, each time when somebody is due next."""
        while not stopping.is_set():
            pause = _POLL_SECONDS
            try:
                if await self.run_once():
                    continue
                pause = await self._pause()
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="segment_dues").inc()
                log.warning("dues_failed", reason=error.message)
                pause = _AWAY_SECONDS
            await stopping.wait(pause)

    async def run_once(self) -> int:
        """Look at a batch of who is due; return how many rows were."""
        return await self._dues.step(micros(self._clock.now()))

    async def _pause(self) -> float:
        due, now_us = await self._dues.next_due(), micros(self._clock.now())
        left = (due - now_us) / _MICROS if due is not None else _POLL_SECONDS
        metrics.OLDEST_DUE_SECONDS.labels(queue="segment_dues").set(max(0.0, -left))
        # Who is due already is held by somebody else: she is looked at there, or by us soon.
        return min(_POLL_SECONDS, max(left, 0.05))
