"""Runs the generator and the sink as processes of their own, and talks to them."""

import asyncio
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bench.load.sink import Stats
from bench.load.spec import Load, Sent


async def send(load: Load) -> Sent:
    """Send a load from a process of its own.

    Raises:
        RuntimeError: The generator failed; what it wrote is on our standard error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(msgspec.json.encode(load))
    if process.returncode:
        raise RuntimeError(f"the generator ended with {process.returncode}")
    return msgspec.json.decode(output, type=Sent)


class RemoteSink:
    """The webhook sink, in its own process."""

    def __init__(self, port: int) -> None:
        """Talk to the sink on that port."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def stats(self) -> Stats:
        """Return what has arrived since the last reset."""
        return msgspec.json.decode(await self._ask("/stats"), type=Stats)

    async def arrivals(self) -> dict[bytes, int]:
        """Return when each order's message arrived."""
        lines = (await self._ask("/arrivals")).splitlines()
        return {order: int(time) for order, time in (line.split() for line in lines)}

    async def reset(self) -> None:
        """Forget what has arrived."""
        await self._ask("/reset", method="POST")

    async def wait_for(self, messages: int, *, limit: float) -> Stats:
        """Wait until so many different messages have arrived.

        Raises:
            TimeoutError: Fewer arrived; the text says how many.
        """
        stats = await self.stats()
        for _ in range(round(limit / 0.1)):
            if stats.orders >= messages:
                return stats
            await asyncio.sleep(0.1)
            stats = await self.stats()
        raise TimeoutError(f"{stats.orders} of {messages} messages arrived within {limit:.0f} s")

    async def _ask(self, path: str, *, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 — our own sink.
        return await asyncio.to_thread(_read, request)


def _read(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 — our own sink.
        return bytes(answer.read())


@asynccontextmanager
async def sink(port: int = 0) -> AsyncIterator[RemoteSink]:
    """Run the sink for the length of a block."""
    async with program("bench.load.sink", str(port)) as (bound, _):
        yield RemoteSink(bound)


@asynccontextmanager
async def program(module: str, *arguments: str) -> AsyncIterator[tuple[int, int]]:
    """Run a module that prints its port; yield the port and the process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.kill()
        await process.wait()
