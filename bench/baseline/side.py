"""Runs the baseline: its servers, its API processes and its Celery workers."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import asyncpg

from bench.load.spec import Kind
from stack import processes
from stack.ports import free_port
from stack.servers import postgres, redis

_SCHEMA = Path(__file__).with_name("schema.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How many processes of each kind: the best found on two cores.

    Two workers leave the cores idle while they wait for the webhook's host; eight, or a second API process, cost more CPU a
    message than they bring in messages.
    """

    api_processes: int = 1
    worker_processes: int = 4


@dataclass(frozen=True, slots=True)
class Baseline:
    """A running baseline."""

    target: str
    """`host:port` of the API."""
    pids: list[int]
    """Roots of all its processes, servers included."""
    database_url: str
    kind: Kind = Kind.HTTP
    key: str = ""
    batch_size: int = 20
    """What HTTP collectors commonly take in a request."""


@asynccontextmanager
async def baseline(
    folder: Path, *, webhook_url: str, tuning: Tuning | None = None
) -> AsyncIterator[Baseline]:
    """Run the baseline for the length of a block, on servers as durable as the mesh's."""
    tuning = tuning or Tuning()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres(folder / "postgres"))
        broker = await stack.enter_async_context(redis(folder / "redis"))
        await _migrate(database.url)
        environment = {
            **os.environ,
            "BASELINE_DATABASE_URL": database.url,
            "BASELINE_REDIS_URL": broker.url,
            "BASELINE_WEBHOOK_URL": webhook_url,
        }
        port = free_port()
        api = processes.start(_api(port, tuning), log=folder / "api.log", environment=environment)
        stack.push_async_callback(api.stop)
        worker = processes.start(
            _worker(tuning), log=folder / "worker.log", environment=environment
        )
        stack.push_async_callback(worker.stop)
        await _until_serving(port)
        yield Baseline(
            f"127.0.0.1:{port}", [database.pid, broker.pid, api.pid, worker.pid], database.url
        )


def _api(port: int, tuning: Tuning) -> list[str]:
    options = "--loop uvloop --http httptools --no-access-log --log-level warning --backlog 256"
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(tuning.api_processes)]
    return [sys.executable, "-m", "uvicorn", "bench.baseline.api:app", *place, *options.split()]


def _worker(tuning: Tuning) -> list[str]:
    # Gossip, mingle and heartbeat let workers watch each other: chatter that one worker does not need.
    options = "--pool prefork -O fair --without-gossip --without-mingle --without-heartbeat --loglevel warning"
    size = ["--concurrency", str(tuning.worker_processes)]
    return [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "bench.baseline.tasks",
        "worker",
        *size,
        *options.split(),
    ]


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_SCHEMA.read_text())
    finally:
        await connection.close()


async def _until_serving(port: int) -> None:
    for _ in range(300):
        if await asyncio.to_thread(_serves, port):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the baseline's API did not answer within 30 s")


def _serves(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
