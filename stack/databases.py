"""One database, and in it a role and a schema for each service, closed to the others."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from mesh.migrations import migrate
from stack.errors import StackError
from stack.keys import write_secret

DATABASE = "beckon"


async def set_up(url: str, *, services: Sequence[str], passwords: Path) -> dict[str, str]:
    """Return each service's own address in the database at `url`; make what is missing.

    Where `url` may not create roles (a hosted server, mostly), all services use `url` itself, each
    still with a schema of its own.
    """
    kept = _passwords(passwords, services)
    # Roles belong to the whole server, on which more than one database may be Beckon's.
    roles = {service: f"{_database(url)}_{service}" for service in services}
    connection = await _connect(url)
    try:
        for service, role in roles.items():
            await _make_role(connection, role, kept[service], schema=service)
    except asyncpg.InsufficientPrivilegeError:
        return dict.fromkeys(services, url)
    finally:
        await connection.close()
    return {service: _as_role(url, role, kept[service]) for service, role in roles.items()}


async def bring_up_to_date(urls: dict[str, str], *, services_folder: Path) -> dict[str, list[str]]:
    """Apply each service's missing migrations as the service itself; return their names."""
    applied = {}
    for service, url in urls.items():
        folder = services_folder / service / "migrations"
        if folder.is_dir():
            applied[service] = await migrate(url, schema=service, folder=folder)
    return applied


async def make_database(server_url: str, name: str = DATABASE) -> str:
    """Create a database if it is missing, closed to everybody else, and return its address."""
    connection = await asyncpg.connect(server_url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
    finally:
        await connection.close()
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await asyncpg.connect(url)
    except (
        OSError,
        TimeoutError,
        ValueError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
    ) as error:
        # Not the address as a whole: it holds a password.
        raise StackError(
            f"PostgreSQL at {urlsplit(url).hostname or 'the address given'} cannot be used:"
            f" {error}; is BECKON_DATABASE_URL right?"
        ) from error


async def _make_role(
    connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str, *, schema: str
) -> None:
    known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    # Passwords of ours have no quote in them; statements like this take no parameters.
    verb = "ALTER" if known else "CREATE"
    async with connection.transaction():
        await connection.execute(f"{verb} ROLE \"{role}\" LOGIN PASSWORD '{password}'")
        # Who is not a superuser must be a member to give the schema away.
        await connection.execute(f'GRANT "{role}" TO CURRENT_USER')
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{role}"')
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION "{role}"')
        await connection.execute(f'ALTER ROLE "{role}" SET search_path = "{schema}"')


def _passwords(file: Path, services: Sequence[str]) -> dict[str, str]:
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    all_of_them = {service: secrets.token_urlsafe(24) for service in services} | known
    write_secret(file, json.dumps(all_of_them, indent=2))
    return all_of_them


def _database(url: str) -> str:
    name = urlsplit(url).path.lstrip("/")
    if not name:
        raise StackError("BECKON_DATABASE_URL names no database; end it with /NAME")
    return name


def _as_role(url: str, role: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password)}@{host}"))
