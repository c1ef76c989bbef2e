"""One PostgreSQL for the folder, and an empty database for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mesh.migrations import migrate
from services.profile.store import MIGRATIONS, SCHEMA, connect
from stack.servers.postgresql import Postgres
from tests.integration.profile.world import Profiles


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)

    async def prepare() -> None:
        await postgres.start()
        url = await postgres.create_database("template")
        await migrate(url, schema=SCHEMA, folder=MIGRATIONS)

    asyncio.run(prepare())
    try:
        yield postgres
    finally:
        asyncio.run(postgres.stop())


@pytest.fixture
async def url(server: Postgres) -> AsyncIterator[str]:
    name = "test"
    await server.drop_database(name)
    yield await server.create_database(name, template="template")
    await server.drop_database(name)


@pytest.fixture
async def profiles(url: str) -> AsyncIterator[Profiles]:
    async with connect(url, size=8) as database:
        yield Profiles(url, database)
