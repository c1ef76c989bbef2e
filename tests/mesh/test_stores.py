"""Makes sure of PostgreSQL, migrations, remembered answers and Redis, on real servers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from time import monotonic
from uuid import uuid4

import asyncpg
import psutil
import pytest

from mesh import postgres, redis, replies
from mesh.errors import Aborted, AlreadyExists, Unavailable
from mesh.migrations import BadMigrations, migrate
from mesh.postgres import Database
from stack.servers import Postgres, Redis


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name}.sql").write_text(sql)
    return folder


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with postgres.connect(
        postgres_url, schema="mesh_test", size=25, timeout=timedelta(seconds=20)
    ) as database:
        async with database.connection() as connection:
            await connection.execute("DROP SCHEMA IF EXISTS mesh_test CASCADE")
            await connection.execute("CREATE SCHEMA mesh_test")
        yield database


async def test_the_search_path_is_the_schema(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE here (id int)")
        found = await connection.fetchval(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'here'"
        )

    assert found == "mesh_test"


async def test_an_error_leaves_nothing_behind(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE kept (id int)")

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0


async def test_lost_races_are_aborted(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE pair (id int PRIMARY KEY, n int)")
        await connection.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    both = asyncio.Barrier(2)

    async def update(first: int, second: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", first)
            await both.wait()
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", second)

    results = await asyncio.gather(update(1, 2), update(2, 1), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Aborted", "NoneType"]
    assert any(isinstance(result, Aborted) for result in results)


async def test_a_unique_violation_is_left_to_the_store(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE one (id int PRIMARY KEY)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO one VALUES (1), (1)")


async def test_no_server_is_unavailable(unused_tcp_port: int) -> None:
    url = f"postgresql://somebody:secret@127.0.0.1:{unused_tcp_port}/x"
    with pytest.raises(Unavailable):
        async with postgres.connect(url, schema="x"):
            pass


async def test_a_busy_pool_is_unavailable_but_its_server_is_not(postgres_url: str) -> None:
    async with (
        postgres.connect(
            postgres_url, schema="public", size=1, timeout=timedelta(seconds=0.3)
        ) as database,
        database.connection(),
    ):
        with pytest.raises(Unavailable):
            async with database.connection():
                pass
        await database.ping()


async def test_a_slow_statement_is_unavailable(postgres_url: str) -> None:
    async with postgres.connect(
        postgres_url, schema="public", timeout=timedelta(seconds=0.3)
    ) as database:
        with pytest.raises(Unavailable):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(5)")
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_restart_of_the_server_is_survived(tmp_path: Path) -> None:
    async with (
        Postgres(tmp_path, durable=False) as server,
        postgres.connect(
            server.url, schema="public", size_min=3, timeout=timedelta(seconds=2)
        ) as database,
    ):
        await database.ping()
        server.kill()
        with pytest.raises(Unavailable):
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
        with pytest.raises(Unavailable):
            await database.ping()
        await server.start()

        for _ in range(5):
            async with database.transaction() as connection:
                assert await connection.fetchval("SELECT 1") == 1
        await database.ping()


async def test_a_frozen_server_is_unavailable_within_the_timeout(tmp_path: Path) -> None:
    async with (
        Postgres(tmp_path, durable=False) as server,
        postgres.connect(server.url, schema="public", timeout=timedelta(seconds=0.5)) as database,
    ):
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
        frozen = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        for process in frozen:
            process.suspend()
        try:
            begun = monotonic()
            with pytest.raises(Unavailable):
                async with database.transaction() as connection:
                    await connection.execute("SELECT 1")
            took = monotonic() - begun
        finally:
            for process in frozen:
                process.resume()
        async with database.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1

    assert took < 3


RACER = """
import asyncio, sys
from pathlib import Path
from mesh.migrations import migrate
print(len(asyncio.run(migrate(sys.argv[1], schema="race", folder=Path(sys.argv[2])))))
"""


async def test_four_racing_starters_migrate_once(postgres_url: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "migrations",
        **{
            "0001_tables": "CREATE TABLE a (id int, n int); CREATE TABLE b (id int);",
            "0002_index": (
                "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);\n"
                "-- another; with a semicolon\n"
                "CREATE INDEX CONCURRENTLY IF NOT EXISTS a_n ON a (n);\n"
            ),
            "0003_row": "INSERT INTO a VALUES (1, 1); SELECT pg_sleep(0.2);",
        },
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RACER,
            postgres_url,
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    outputs = [await process.communicate() for process in processes]

    assert sorted(int(output) for output, _ in outputs) == [0, 0, 0, 3]
    async with postgres.connect(postgres_url, schema="race") as database:  # noqa: SIM117
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM a") == 1
            assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == 3
            indexes = await connection.fetch("SELECT 1 FROM pg_indexes WHERE tablename = 'a'")
            assert len(indexes) == 2


async def test_migrations_go_on_where_they_ended(postgres_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"0001_a": "CREATE TABLE a (id int)"})
    assert await migrate(postgres_url, schema="onward", folder=folder) == ["0001_a.sql"]
    write(folder, **{"0002_b": "CREATE TABLE b (id int)", "0003_bad": "CREATE TABLE a (id int)"})

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(postgres_url, schema="onward", folder=folder)
    write(folder, **{"0003_bad": "CREATE TABLE c (id int)"})

    assert await migrate(postgres_url, schema="onward", folder=folder) == ["0003_bad.sql"]


async def test_a_changed_migration_is_refused(postgres_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"0002_a": "CREATE TABLE a (id int)"})
    await migrate(postgres_url, schema="changed", folder=folder)

    write(folder, **{"0002_a": "CREATE TABLE a (id bigint)"})
    with pytest.raises(BadMigrations, match=r"0002_a\.sql was changed after it was applied"):
        await migrate(postgres_url, schema="changed", folder=folder)
    write(folder, **{"0002_a": "CREATE TABLE a (id int)", "0001_before": "SELECT 1"})
    with pytest.raises(BadMigrations, match="renumber"):
        await migrate(postgres_url, schema="changed", folder=folder)


async def test_an_older_release_bears_a_newer_schema(postgres_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", **{"0001_a": "SELECT 1", "0002_b": "SELECT 1"})
    await migrate(postgres_url, schema="older", folder=folder)
    (folder / "0002_b.sql").unlink()

    assert await migrate(postgres_url, schema="older", folder=folder) == []


async def test_a_misnamed_migration_is_refused(postgres_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", first="SELECT 1")
    with pytest.raises(BadMigrations, match="0001_what_it_does"):
        await migrate(postgres_url, schema="misnamed", folder=folder)


@pytest.fixture
async def remembering(database: Database) -> Database:
    async with database.connection() as connection:
        await connection.execute(replies.DDL_FILE.read_text())
        await connection.execute("CREATE TABLE effects (id serial)")
    return database


async def ask(
    database: Database, request_id: object, content: bytes = b"same", *, crash: bool = False
) -> bytes:
    async with database.transaction() as connection:

        async def effect() -> bytes:
            number = await connection.fetchval("INSERT INTO effects DEFAULT VALUES RETURNING id")
            await asyncio.sleep(0.05)
            if crash:
                raise ZeroDivisionError
            return str(number).encode()

        return await replies.once(connection, "Make", request_id, content, effect)  # type: ignore[arg-type]


async def test_twenty_duplicates_have_one_effect(remembering: Database) -> None:
    request_id = uuid4()
    answers = await asyncio.gather(*(ask(remembering, request_id) for _ in range(20)))

    assert len(set(answers)) == 1
    async with remembering.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM effects") == 1


async def test_when_the_first_crashes_one_other_takes_over(remembering: Database) -> None:
    request_id = uuid4()
    answers = await asyncio.gather(
        *(ask(remembering, request_id, crash=number == 0) for number in range(20)),
        return_exceptions=True,
    )

    assert isinstance(answers[0], ZeroDivisionError)
    assert len(set(answers[1:])) == 1
    async with remembering.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM effects") == 1


async def test_an_id_is_not_used_for_other_content(remembering: Database) -> None:
    request_id = uuid4()
    await ask(remembering, request_id)

    with pytest.raises(AlreadyExists):
        await ask(remembering, request_id, b"other")


async def test_answers_are_forgotten_after_a_day(remembering: Database) -> None:
    await ask(remembering, uuid4())
    async with remembering.connection() as connection:
        assert await replies.forget(connection) == 0
        await connection.execute("UPDATE replies SET create_time = now() - interval '25 h'")
        assert await replies.forget(connection) == 1


async def test_redis_answers_in_bytes(redis_url: str) -> None:
    async with redis.connect(redis_url) as client:
        await client.set("key", "value")

        assert await client.get("key") == b"value"
        await redis.ping(client)


async def test_a_script_is_sent_when_the_server_has_forgotten_it(redis_url: str) -> None:
    script = redis.Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    async with redis.connect(redis_url) as client:
        assert await script(client, ["{a}:n"], [2]) == 2
        await client.script_flush()
        assert await script(client, ["{a}:n"], [3]) == 5


async def test_no_redis_is_unavailable(unused_tcp_port: int) -> None:
    async with redis.connect(f"redis://127.0.0.1:{unused_tcp_port}/0") as client:
        with pytest.raises(Unavailable):
            await redis.ping(client)


async def test_a_frozen_redis_is_unavailable_within_the_timeout(tmp_path: Path) -> None:
    script = redis.Script("return 1")
    async with (
        Redis(tmp_path, durable=False) as server,
        redis.connect(server.url, timeout=timedelta(seconds=0.5)) as client,
    ):
        assert await script(client, ["k"]) == 1
        os.kill(server.pid, signal.SIGSTOP)
        try:
            begun = monotonic()
            with pytest.raises(Unavailable):
                await script(client, ["k"])
            took = monotonic() - begun
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await script(client, ["k"]) == 1

    assert took < 2


async def test_a_restart_of_redis_is_survived(tmp_path: Path) -> None:
    async with Redis(tmp_path, durable=False) as server, redis.connect(server.url) as client:
        await redis.ping(client)
        server.kill()
        with pytest.raises(Unavailable):
            await redis.ping(client)
        await server.start()

        await redis.ping(client)


async def test_a_caller_beyond_the_pool_waits(redis_url: str) -> None:
    async with redis.connect(redis_url, size=2) as client:
        answers = await asyncio.gather(*(client.incr("waited") for _ in range(50)))

    assert max(answers) == 50
