"""One PostgreSQL and one database for the folder, emptied after each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from mesh.migrations import migrate
from services.profile.store import MIGRATIONS, SCHEMA, connect
from stack.servers.postgresql import Postgres
from tests.integration.profile.neighbours import Neighbours
from tests.integration.profile.world import WEEKS, Profiles

TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
    AND relnamespace = current_schema()::regnamespace AND relname <> ALL($1::text[])
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    postgres = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)

    asyncio.run(postgres.start())
    try:
        yield postgres
    finally:
        asyncio.run(postgres.stop())


@pytest.fixture(scope="session")
def database_url(server: Postgres) -> str:
    async def prepare() -> str:
        url = await server.create_database("test")
        await migrate(url, schema=SCHEMA, folder=MIGRATIONS)
        return url

    return asyncio.run(prepare())


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    yield database_url
    connection = await asyncpg.connect(database_url, server_settings={"search_path": SCHEMA})
    for row in await connection.fetch(WEEKS):
        await connection.execute(f"DROP TABLE {row['relname']}")
    tables = await connection.fetch(TABLES, ["catalogues", "schema_migrations"])
    await connection.execute(f"TRUNCATE {', '.join(row['relname'] for row in tables)}")
    await connection.execute("UPDATE catalogues SET version = 0")
    await connection.close()


@pytest.fixture
async def profiles(url: str) -> AsyncIterator[Profiles]:
    async with connect(url, size=8) as database:
        yield Profiles(url, database)


@pytest.fixture
async def world(url: str) -> AsyncIterator[Neighbours]:
    async with connect(url, size=8) as database:
        yield Neighbours(database)
