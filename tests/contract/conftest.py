"""Servers that a test of a port may kill."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.servers import Redis


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis of the test's own."""
    async with Redis(tmp_path) as server:
        yield server
