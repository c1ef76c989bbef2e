"""Brings a schema up to date: numbered SQL files, each applied once, whoever starts first."""

import asyncio
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic

import asyncpg

from mesh.postgres import Connection, translated

# `0001_profiles.sql`.
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# First line of a file that cannot run in a transaction, as CREATE INDEX CONCURRENTLY
# cannot. Such a file must bear being run twice: a crash can fall before its recording.
# Its statements each end at the end of a line.
_NO_TRANSACTION = "-- no transaction"
_POLL_SECONDS = 0.1
# Longer than the longest migration of a first start; a starter that waits longer
# is better restarted than silent.
_WAIT_SECONDS = 300.0


class BadMigrations(Exception):
    """The files do not continue what was applied."""


@dataclass(frozen=True, slots=True)
class _Migration:
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


async def migrate(url: str, *, schema: str, folder: Path) -> list[str]:
    """Apply what is missing in `schema`; return the names of the files applied.

    Safe with many starters at once: one works, the others wait and find nothing
    to do. Each file commits together with its recording.

    Raises:
        BadMigrations: An applied file was changed, or a file was put between
            applied ones.
    """
    if not _SCHEMA.fullmatch(schema):
        message = f"not a schema name: {schema!r}"
        raise ValueError(message)
    migrations = _read(folder)
    with translated():
        connection = await asyncpg.connect(
            url,
            timeout=10,
            statement_cache_size=0,
            server_settings={"application_name": f"beckon-migrate/{schema}"},
        )
        try:
            await _lock(connection, schema)
            # Asked first: IF NOT EXISTS wants the right to create schemas even where
            # there is one, and a service's own role has no business with others.
            if not await connection.fetchval(
                "SELECT to_regnamespace($1::text) IS NOT NULL", f'"{schema}"'
            ):
                await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            await connection.execute(f'SET search_path = "{schema}"')
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                " version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
                " apply_time timestamptz NOT NULL DEFAULT now())"
            )
            missing = await _missing(connection, migrations)
            for migration in missing:
                await _apply(connection, migration)
        finally:
            # The lock goes with the session.
            await connection.close(timeout=5)
    return [migration.name for migration in missing]


def _read(folder: Path) -> list[_Migration]:
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            message = f"{path.name}: a migration is named 0001_what_it_does.sql"
            raise BadMigrations(message)
        migrations.append(_Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")))
    versions = [migration.version for migration in migrations]
    if len(set(versions)) != len(versions):
        message = f"two migrations in {folder} have the same number"
        raise BadMigrations(message)
    return migrations


async def _lock(connection: Connection, schema: str) -> None:
    # Polled, because waiting inside pg_advisory_lock() holds a snapshot, which
    # deadlocks with another starter's CREATE INDEX CONCURRENTLY.
    digest = sha256(f"beckon migrations of {schema}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    give_up = monotonic() + _WAIT_SECONDS
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
        if monotonic() > give_up:
            message = f"another starter has been migrating {schema} for {_WAIT_SECONDS:.0f} s"
            raise BadMigrations(message)
        await asyncio.sleep(_POLL_SECONDS)


async def _missing(connection: Connection, migrations: list[_Migration]) -> list[_Migration]:
    rows = await connection.fetch("SELECT version, name, sha256 FROM schema_migrations")
    applied = {int(row["version"]): (str(row["name"]), str(row["sha256"])) for row in rows}
    newest = max(applied, default=0)
    missing = []
    for migration in migrations:
        known = applied.get(migration.version)
        if known is not None and known[1] != migration.sha256:
            message = (
                f"{migration.name} was changed after it was applied (as {known[0]}); "
                "put it back and add a new migration"
            )
            raise BadMigrations(message)
        if known is None and migration.version < newest:
            message = f"{migration.name} comes before {newest:04d}, which is applied; renumber it"
            raise BadMigrations(message)
        if known is None:
            missing.append(migration)
    # Versions we do not know were applied by a newer release; while one rolls
    # out, or back, the older code goes on with the newer schema.
    return missing


async def _apply(connection: Connection, migration: _Migration) -> None:
    if migration.sql.lstrip().startswith(_NO_TRANSACTION):
        for statement in re.split(r";[ \t]*(?:\n|\Z)", migration.sql):
            if re.sub(r"--[^\n]*", "", statement).strip():
                await connection.execute(statement)
        await _record(connection, migration)
        return
    async with connection.transaction():
        await connection.execute(migration.sql)
        await _record(connection, migration)


async def _record(connection: Connection, migration: _Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )
