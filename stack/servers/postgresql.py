"""An embedded PostgreSQL on a folder."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from time import perf_counter

import asyncpg
import psutil

from stack import processes
from stack.binaries import postgres_folder
from stack.errors import StackError
from stack.ports import HOST
from stack.servers.server import START_LIMIT, Server

SUPERUSER = "beckon"

# How long a server may take to end whose supervisor was killed: it is on its way already.
_REMAINS_PATIENCE = 10.0

_FIRST_WITH_BUILTIN_LOCALE = 17

# A longer address of a unix socket is refused by the kernel; `.s.PGSQL.50432` goes behind ours.
_SOCKET_FOLDER_MAX = 90

# One machine, five services with a pool each, and a laptop's memory.
_SETTINGS = {
    "listen_addresses": HOST,
    "max_connections": "120",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    # Every plan is a look-up by key. Ten times the sample is a quarter of a second of CPU for the
    # history alone, each time it has grown by a tenth.
    "default_statistics_target": "10",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "log_min_duration_statement": "1000",
    # A slow statement is worth a line; what was asked for is somebody's data.
    "log_parameter_max_length": "0",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "cluster_name": "beckon",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres(Server):
    """One PostgreSQL server.

    What a client was told is committed survives `kill` and a new `start`, unless `durable` is
    False, which is for tests that do not care and saves half a second.
    """

    NAME = "postgres"
    # A fast shutdown: connections are ended, data is written.
    STOP = signal.SIGINT

    def __init__(self, folder: Path, *, port: int = 0, durable: bool = True) -> None:
        """Describe a server; port 0 is chosen at the first start and then kept."""
        super().__init__(folder, port=port, durable=durable)
        # Data of one major version is unreadable to another.
        self._data = folder / f"postgres-{_major(postgres_folder())}"

    @property
    def url(self) -> str:
        """Where the superuser reaches the database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str, *, user: str = SUPERUSER, password: str | None = None) -> str:
        """Return the address of a database over TCP."""
        secret = self._password() if password is None else password
        return f"postgresql://{user}:{secret}@{HOST}:{self.port}/{database}"

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if named, and return its address."""
        connection = await asyncpg.connect(self.url)
        try:
            copy = f' TEMPLATE "{template}"' if template else ""
            await connection.execute(f'CREATE DATABASE "{name}"{copy}')
        finally:
            await connection.close()
        return self.url_of(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()

    async def _prepare(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            await self._create()
        await self._clear_remains()

    def _launch(self) -> processes.Child:
        return processes.start(
            [str(postgres_folder() / "postgres"), "-D", str(self._data), *self._options()],
            log=self._log,
            death_signal=self.STOP,
            unroot=self._data,
        )

    async def _ready(self, child: processes.Child) -> bool:
        return _says_ready(self._data / "postmaster.pid", child.pid)

    def _options(self) -> list[str]:
        sockets = str(self.folder) if len(str(self.folder)) <= _SOCKET_FOLDER_MAX else ""
        settings = dict(_SETTINGS, port=str(self.port), unix_socket_directories=sockets)
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    async def _create(self) -> None:
        self._make_password()
        # Made elsewhere and moved: an interrupted start leaves no half-made data behind.
        unfinished = self._data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        command = [
            str(postgres_folder() / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *_locale(_major(postgres_folder())),
            *([] if self._durable else ["--no-sync"]),
        ]
        child = processes.start(command, log=self._log, unroot=unfinished)
        try:
            code = await child.wait(START_LIMIT)
        finally:
            if child.exit_code is None:
                child.kill()
        if code != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise self._failed("could not create its data")
        unfinished.rename(self._data)

    async def _clear_remains(self) -> None:
        """Let processes of an earlier life end, and drop a process id that is somebody else's.

        PostgreSQL refuses to start when the process of `postmaster.pid` exists; after a restart of
        a container that number often belongs to another program.
        """
        begun = perf_counter()
        while remains := _servers_on(self._data):
            if perf_counter() - begun > _REMAINS_PATIENCE:
                raise StackError(
                    f"another PostgreSQL (process {remains[0].pid}) uses {self._data};"
                    " stop it first"
                )
            await asyncio.sleep(0.1)
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        for lock in self.folder.glob(".s.PGSQL.*"):
            lock.unlink(missing_ok=True)


@asynccontextmanager
async def postgres(folder: Path, *, port: int = 0, durable: bool = True) -> AsyncIterator[Postgres]:
    """Run a PostgreSQL on `folder` for the length of a block."""
    async with Postgres(folder, port=port, durable=durable) as server:
        yield server


@cache
def _major(folder: Path) -> int:
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    return int(answer.stdout.split()[2].split(".")[0])


def _locale(major: int) -> list[str]:
    """Sort by code point wherever the machine's C library comes from."""
    if major >= _FIRST_WITH_BUILTIN_LOCALE:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C"]


def _says_ready(pid_file: Path, pid: int) -> bool:
    """Read what `pg_ctl` waits for: the eighth line of the pid file."""
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return lines[7:8] == ["ready   "] and int(lines[0]) == pid


def _servers_on(data: Path) -> list[psutil.Process]:
    """Return the PostgreSQL processes that work in a data folder."""
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and process.info["cwd"] == str(data.resolve())
    ]
