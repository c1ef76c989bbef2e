"""One PostgreSQL for all tests of delivery, a database of its own for each."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from mesh.migrations import migrate
from services.delivery.__main__ import MIGRATIONS, SCHEMA
from stack.servers import Postgres
from tests.integration.delivery import peers as peers_


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with a migrated template."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)

    async def begin() -> None:
        await server.start()
        url = await server.create_database("delivery_template")
        await migrate(url, schema=SCHEMA, folder=MIGRATIONS)

    with asyncio.Runner() as runner:
        runner.run(begin())
        yield server
        runner.run(server.stop())


@pytest.fixture
async def database_url(postgres_server: Postgres) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{uuid4().hex}"
    yield await postgres_server.create_database(name, template="delivery_template")
    await postgres_server.drop_database(name)


@pytest.fixture
async def peers() -> AsyncIterator[peers_.Peers]:
    async with peers_.peers() as found:
        yield found


@pytest.fixture
async def hooks() -> AsyncIterator[peers_.Hooks]:
    async with peers_.hooks() as found:
        yield found


@pytest.fixture
async def inbox() -> AsyncIterator[peers_.Inbox]:
    async with peers_.inbox() as found:
        yield found
