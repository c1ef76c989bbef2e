"""What every test has; fixtures of one folder live in that folder's own conftest."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from stack.servers import Postgres, Redis
from tests.effort import EFFORT

# Two shared cores: how long an example takes says nothing about the code.
settings.register_profile(
    "house",
    deadline=None,
    derandomize=EFFORT == 1,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """One PostgreSQL for the whole run (for each xdist worker); not to be killed or frozen."""
    async with Postgres(_folder(tmp_path_factory, "postgres"), durable=False) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server_shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """One Redis for the whole run (for each xdist worker); not to be killed or frozen."""
    async with Redis(_folder(tmp_path_factory, "redis"), durable=False) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def postgres_url(postgres_server: Postgres) -> AsyncIterator[str]:
    """A database of the test module's own, empty at its beginning."""
    name = f"test_{next(_numbers)}"
    yield await postgres_server.create_database(name)
    await postgres_server.drop_database(name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def redis_url(redis_server_shared: Redis) -> str:
    """A Redis database of the test module's own, empty at its beginning."""
    import redis.asyncio

    # Fifteen databases in turn; number 0 is left to who asks for none.
    url = redis_server_shared.url_of(1 + next(_numbers) % 15)
    async with redis.asyncio.from_url(url) as client:
        await client.flushdb()
    return url


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes name a test by their length: a zip holds the second it was made in.

    Every worker of a run must collect the same names, and each collects at its own second.
    """
    return f"{len(val)}bytes" if isinstance(val, bytes) else None


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(name)
