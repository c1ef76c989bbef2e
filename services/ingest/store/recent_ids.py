"""Remembers recent event ids in Redis, to tell a caller early that an event is known.

Recognition here is a courtesy: it is lost with Redis and with a crash right
after an append. That an event counts once is kept by profile.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from mesh import redis
from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.metrics import WORKER_FAILURES
from mesh.server import Stopping
from mesh.wake import Wake

log = structlog.get_logger(__name__)

# Ids that wait to be written while Redis is away; beyond it the oldest are let go.
_WAITING_MAX = 200_000


class RecentIds(Protocol):
    """What the door asks of a memory of ids."""

    async def recall(self, workspace: str, event_ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the fingerprint each id was remembered with, or None; never fails."""
        ...

    def remember(self, workspace: str, fingerprints: Mapping[str, bytes]) -> None:
        """Remember ids whose events are durable now; `recall` knows them at once."""
        ...


class RedisRecentIds:
    """Ids by workspace in one hash per span of time: two spans are looked at, older ones expire.

    A hash takes 500 ids in one command, at a third of what a key each costs.
    """

    def __init__(self, client: redis.Redis, clock: Clock, window: timedelta) -> None:
        """Remember for `window` at least and twice that at most."""
        self._client = client
        self._clock = clock
        self._window = int(window.total_seconds())
        self._waiting: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._writing: dict[str, dict[str, bytes]] = {}
        self._wake = Wake()

    async def recall(self, workspace: str, event_ids: Sequence[str]) -> Sequence[bytes | None]:
        """Look in Redis, and in what is still to be written there."""
        newest, older = self._keys(workspace)
        found: list[bytes | None]
        try:
            with redis.translated():
                async with self._client.pipeline(transaction=False) as pipeline:
                    pipeline.execute_command("HMGET", newest, *event_ids)
                    pipeline.execute_command("HMGET", older, *event_ids)
                    found, before = await pipeline.execute()
        except Unavailable:
            # The door stays open: profile recognises what we do not.
            WORKER_FAILURES.labels(worker="recent_ids").inc()
            found = before = [None] * len(event_ids)
        if any(before):
            found = [new or old for new, old in zip(found, before, strict=True)]
        for unwritten in (self._waiting.get(workspace), self._writing.get(workspace)):
            if unwritten:
                found = [
                    fingerprint or unwritten.get(event_id)
                    for fingerprint, event_id in zip(found, event_ids, strict=True)
                ]
        return found

    def remember(self, workspace: str, fingerprints: Mapping[str, bytes]) -> None:
        """Keep them here until `run` has written them."""
        waiting = self._waiting[workspace]
        if len(waiting) > _WAITING_MAX:
            waiting.clear()
        waiting.update(fingerprints)
        self._wake.ring()

    async def run(self, stopping: Stopping) -> None:
        """Write what waits, all of it at a time, until told to stop."""
        while not stopping.is_set():
            await self._wake.wait(stopping)
            await self._write()
        await self._write()

    async def _write(self) -> None:
        self._writing, self._waiting = self._waiting, defaultdict(dict)
        if not self._writing:
            return
        try:
            with redis.translated():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for workspace, fingerprints in self._writing.items():
                        key, _ = self._keys(workspace)
                        pairs = [part for pair in fingerprints.items() for part in pair]
                        pipeline.execute_command("HSET", key, *pairs)
                        pipeline.execute_command("EXPIRE", key, 2 * self._window)
                    await pipeline.execute()
        except Unavailable:
            log.warning("recent_ids_not_written", count=sum(map(len, self._writing.values())))
            WORKER_FAILURES.labels(worker="recent_ids").inc()
        self._writing = {}

    def _keys(self, workspace: str) -> tuple[str, str]:
        span = int(self._clock.now().timestamp()) // self._window
        prefix = f"beckon:ids:{{{workspace}}}"
        return f"{prefix}:{span}", f"{prefix}:{span - 1}"


class NoRecentIds:
    """Remembers nothing: every repeat goes on to profile."""

    async def recall(
        self,
        workspace: str,  # noqa: ARG002 — the port's
        event_ids: Sequence[str],
    ) -> Sequence[bytes | None]:
        """Know none."""
        return [None] * len(event_ids)

    def remember(self, workspace: str, fingerprints: Mapping[str, bytes]) -> None:
        """Forget them."""
