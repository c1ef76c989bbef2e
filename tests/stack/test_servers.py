"""Makes sure that the embedded servers keep what they acknowledged, as root or not, and hurt nobody."""

import os
import stat
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from stack.errors import StackError, StartFailed
from stack.servers import Postgres, Redis, postgres, postgresql, redis


async def test_postgres_keeps_what_was_committed_through_a_kill(tmp_path: Path) -> None:
    async with postgres(tmp_path) as server:
        await execute(server.url, "CREATE TABLE things AS SELECT generate_series(1, 1000) AS thing")
        port = server.port

        server.kill()
        await server.start()

        assert await fetch(server.url, "SELECT count(*) FROM things") == 1000
        assert server.port == port


async def test_postgres_writes_to_the_disk_before_it_answers(tmp_path: Path) -> None:
    async with postgres(tmp_path) as server:
        settings = [
            await fetch(server.url, f"SHOW {name}") for name in ("fsync", "synchronous_commit")
        ]

        assert settings == ["on", "on"]


async def test_postgres_starts_although_its_old_process_id_is_somebody_elses(
    tmp_path: Path,
) -> None:
    """A container gives the same small numbers out again; here it is our own."""
    async with postgres(tmp_path, durable=False) as server:
        server.kill()
        pid_file = next(tmp_path.glob("postgres-*")) / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

        await server.start()

        assert await fetch(server.url, "SELECT 1") == 1


async def test_a_second_postgres_on_the_same_folder_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_REMAINS_PATIENCE", 0.2)

    async with postgres(tmp_path, durable=False):
        with pytest.raises(StackError, match=r"uses .*postgres-"):
            await Postgres(tmp_path, durable=False).start()


async def test_postgres_does_not_run_as_root_nor_opens_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)

    async with postgres(folder, durable=False) as server:
        inside = Path(f"/proc/{server.pid}/uid_map").read_text().split()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        assert inside[0] == "65534"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
async def test_postgres_runs_as_nobody_where_user_namespaces_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with postgres(tmp_path, durable=False) as server:
        await execute(server.url, "CREATE TABLE things AS SELECT 7 AS thing")

    monkeypatch.setenv("BECKON_USER_NAMESPACE", "never")
    async with postgres(tmp_path, durable=False) as server:
        kept = await fetch(server.url, "SELECT thing FROM things")
        owner = Path(f"/proc/{server.pid}").stat().st_uid
    monkeypatch.delenv("BECKON_USER_NAMESPACE")
    async with postgres(tmp_path, durable=False) as server:
        kept_again = await fetch(server.url, "SELECT thing FROM things")

    assert (kept, owner, kept_again) == (7, 65534, 7)


async def test_postgres_wants_the_password_it_made(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url_of("postgres", password="guess"))


async def test_a_copy_of_a_database_holds_its_tables(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False) as server:
        pattern = await server.create_database("pattern")
        await execute(pattern, "CREATE TABLE things AS SELECT 7 AS thing")

        copy = await server.create_database("copy", template="pattern")

        assert await fetch(copy, "SELECT thing FROM things") == 7


async def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres-18.unfinished"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")

    async with postgres(tmp_path, durable=False) as server:
        assert await fetch(server.url, "SELECT 1") == 1

    assert not half_made.exists()


async def test_a_postgres_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = Postgres(tmp_path, durable=False)
    await server.start()
    await server.stop()
    (next(tmp_path.glob("postgres-*")) / "postgresql.conf").write_text("shared_buffers = 'much'\n")

    with pytest.raises(StartFailed, match="shared_buffers"):
        await server.start()


async def test_redis_keeps_what_it_acknowledged_through_a_kill(tmp_path: Path) -> None:
    async with redis(tmp_path) as server:
        async with client.from_url(server.url) as connection:
            await connection.mset({f"key-{number}": number for number in range(1000)})
        port = server.port

        server.kill()
        await server.start()

        async with client.from_url(server.url) as connection:
            assert await connection.dbsize() == 1000
        assert server.port == port


async def test_redis_starts_on_a_file_that_ends_in_half_a_command(tmp_path: Path) -> None:
    async with redis(tmp_path) as server:
        async with client.from_url(server.url) as connection:
            await connection.set("whole", 1)
        server.kill()
        newest = max((tmp_path / "redis" / "appendonlydir").glob("*.incr.aof"))
        with newest.open("ab") as file:
            file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")

        await server.start()

        async with client.from_url(server.url) as connection:
            assert await connection.get("whole") == b"1"


async def test_redis_writes_before_it_answers_and_never_evicts(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, client.from_url(server.url) as connection:
        names = ("appendonly", "appendfsync", "save", "maxmemory-policy")
        found = {name: (await connection.config_get(name))[name] for name in names}

    assert found == {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }


async def test_redis_wants_the_password_it_made(tmp_path: Path) -> None:
    async with redis(tmp_path, durable=False) as server:
        with pytest.raises(AuthenticationError):
            await client.Redis(
                port=server.port, password="guess", retry=Retry(NoBackoff(), 0)
            ).ping()


async def test_secrets_are_for_the_owner_only(tmp_path: Path) -> None:
    async with Postgres(tmp_path, durable=False), Redis(tmp_path, durable=False):
        secrets = [*tmp_path.glob("*.password"), tmp_path / "redis.conf"]
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in secrets}

    assert modes == {"postgres.password": 0o600, "redis.password": 0o600, "redis.conf": 0o600}


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
