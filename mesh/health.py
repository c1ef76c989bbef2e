"""Says truthfully whether this process can serve: it asks its dependencies, without end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import structlog
from grpc_health.v1 import health, health_pb2

from mesh import metrics

log = structlog.get_logger(__name__)

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when the dependency answers; raises otherwise."""

LIVENESS = "live"
"""Service name for liveness probes: SERVING as long as the loop turns, whatever is away."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(slots=True)
class _Watch:
    name: str
    check: Check
    misses: int = 0
    running: "asyncio.Future[None] | None" = None


class Health:
    """Keeps gRPC's health service true to the checks."""

    def __init__(
        self,
        services: Sequence[str],
        checks: Mapping[str, Check],
        *,
        interval: timedelta,
        misses: int,
    ) -> None:
        """Take what is served and what it depends on; every service depends on all."""
        self.servicer = health.aio.HealthServicer()
        self._names = ("", *services)
        self._watches = [_Watch(name, check) for name, check in checks.items()]
        self._interval = interval.total_seconds()
        self._misses = misses
        self._serving: bool | None = None

    async def begin(self) -> None:
        """Say NOT_SERVING until the first round of checks has passed."""
        await self.servicer.set(LIVENESS, _SERVING)
        await self._tell(serving=False)

    async def run(self) -> None:
        """Check for ever."""
        first = True
        while True:
            asked = (self._ask(each, first=first) for each in self._watches)
            healthy = await asyncio.gather(*asked)
            await self._tell(serving=all(healthy))
            first = False
            await asyncio.sleep(self._interval)

    async def end(self) -> None:
        """Say NOT_SERVING from now on, whatever the checks say."""
        await self.servicer.enter_graceful_shutdown()
        for each in self._watches:
            if each.running is not None:
                each.running.cancel()

    async def _ask(self, watch: _Watch, *, first: bool) -> bool:
        problem = await self._try(watch)
        was = watch.misses
        watch.misses = watch.misses + 1 if problem else 0
        if first and watch.misses:
            # A process that never was healthy has no benefit of the doubt.
            watch.misses = self._misses
        healthy = watch.misses < self._misses
        if watch.misses == self._misses and was < self._misses:
            log.error("dependency_lost", dependency=watch.name, problem=problem)
        elif not watch.misses and was >= self._misses:
            log.info("dependency_back", dependency=watch.name)
        metrics.HEALTHY.labels(dependency=watch.name).set(int(healthy))
        return healthy

    async def _try(self, watch: _Watch) -> str:
        """Return what is wrong, '' when nothing.

        Waits beside the check, not for it: one that cannot even be cancelled
        must not stop the others. It is asked again when it has ended.
        """
        if watch.running is None:
            watch.running = asyncio.ensure_future(watch.check())  # noqa: TID251 — read below
        done, _ = await asyncio.wait({watch.running}, timeout=self._interval)
        if not done:
            watch.running.cancel()
            await asyncio.sleep(0)
            if watch.running.done():
                watch.running = None
            return "no answer in time"
        task, watch.running = watch.running, None
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return "" if error is None else f"{type(error).__name__}: {error}"

    async def _tell(self, *, serving: bool) -> None:
        if serving == self._serving:
            return
        self._serving = serving
        for name in self._names:
            await self.servicer.set(name, _SERVING if serving else _NOT_SERVING)
