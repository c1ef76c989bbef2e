"""Records hand-overs, those of all senders at once in one statement."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from mesh.clock import Clock
from mesh.errors import MeshError
from services.delivery.model import Claimed
from services.delivery.store import DeliveryStore


class HandOvers:
    """A group commit: while one statement runs, the next gathers."""

    def __init__(self, store: DeliveryStore, clock: Clock, *, timeout: timedelta) -> None:
        """Take what a provider takes at most: a lease must last as long."""
        self._store = store
        self._clock = clock
        self._timeout = timeout
        self._waiting: list[tuple[Sequence[Claimed], asyncio.Future[set[UUID]]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def record(self, deliveries: Sequence[Claimed]) -> set[UUID]:
        """Record that a provider is about to get these; return those that still are ours.

        Raises:
            MeshError: Whether it is recorded nobody knows.
        """
        answer: asyncio.Future[set[UUID]] = asyncio.get_running_loop().create_future()
        self._waiting.append((deliveries, answer))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.ensure_future(self._write())  # noqa: TID251 — answers for itself
        return await answer

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                ours = await self._store.hand_over(
                    [one for deliveries, _ in batch for one in deliveries],
                    lease_beyond=self._clock.now() + self._timeout,
                )
            except BaseException as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                if not isinstance(error, MeshError):
                    raise
            else:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_result(ours)
