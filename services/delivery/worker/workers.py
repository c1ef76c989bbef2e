"""All of delivery's workers as one: they end in an order."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from mesh.server import Stopping
from services.delivery.worker.settler import Settler


class Worker(Protocol):
    """Works until told to end."""

    async def run(self, stopping: Stopping) -> None:
        """Work until it is time to end."""
        ...


class Workers:
    """Lanes end first, then the settler writes the last results, then the relay tells them."""

    def __init__(
        self, lanes: Sequence[Worker], settler: Settler, relay: Worker, janitor: Worker
    ) -> None:
        """Take them."""
        self._lanes = lanes
        self._settler = settler
        self._relay = relay
        self._janitor = janitor

    async def run(self, stopping: Stopping) -> None:
        """Run all until it is time to end; one that crashes ends all."""
        last = Stopping()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settler.run(stopping))
            group.create_task(self._relay.run(last))
            group.create_task(self._janitor.run(stopping))
            async with asyncio.TaskGroup() as lanes:
                for lane in self._lanes:
                    lanes.create_task(lane.run(stopping))
            self._settler.finish()
            await self._settler.finished()
            last.set()
