"""Waiting with a limit, and a service that does nothing but be healthy."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests import waiting

_DUMMY = """
import asyncio, os, signal, sys, grpc
from grpc_health.v1 import health, health_pb2_grpc

async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(os.environ[sys.argv[1].upper() + "_ADDRESS"])
    await server.start()
    print("serving", flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await server.stop(1)

asyncio.run(main())
"""

Eventually = Callable[[Callable[[], bool]], Awaitable[bool]]


@pytest.fixture
def eventually() -> Eventually:
    """Return the function that waits until something holds."""
    return waiting.eventually


@pytest.fixture
def dummy_service(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the command of a process that passes for a service."""
    program = tmp_path / "dummy.py"
    program.write_text(_DUMMY)
    return lambda name: [sys.executable, str(program), name]
