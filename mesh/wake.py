"""Wakes a worker when there is something to do, or when it is time to stop."""

import asyncio

from mesh.server import Stopping


class Wake:
    """A bell: rung from anywhere in the loop, heard by the one worker that waits."""

    def __init__(self) -> None:
        """Begin silent."""
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the worker now, or spare it its next wait."""
        self._rung.set()

    async def wait(self, stopping: Stopping, *, seconds: float | None = None) -> None:
        """Return when rung, told to stop, or after so many seconds; silent again after."""
        if not self._rung.is_set() and not stopping.is_set():
            # Both end here, whichever came first.
            waits = [
                asyncio.ensure_future(self._rung.wait()),  # noqa: TID251 — cancelled below
                asyncio.ensure_future(stopping.wait()),  # noqa: TID251 — cancelled below
            ]
            try:
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        self._rung.clear()
