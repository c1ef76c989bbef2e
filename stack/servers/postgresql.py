"""An embedded PostgreSQL on a folder."""

import asyncio
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

import asyncpg
import psutil

from stack import processes
from stack.binaries import postgres_folder
from stack.errors import StackError, StartFailed
from stack.ports import HOST, free_port

SUPERUSER = "beckon"

# Recovery after a kill reads at most `max_wal_size` again: seconds, on a slow disk a minute.
START_LIMIT = 60.0

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


class Postgres:
    """One PostgreSQL server: its data, its password and its log live in `folder`.

    What a client was told is committed survives `kill` and a new `start`, unless `durable` is
    False, which is for tests that do not care and saves half a second.
    """

    def __init__(self, folder: Path, *, port: int = 0, durable: bool = True) -> None:
        """Describe a server; port 0 is chosen at the first start and then kept."""
        self.folder = folder
        self.port = port
        self.start_seconds = 0.0
        """How long the last start took, creation of the data included."""
        self._durable = durable
        self._child: processes.Child | None = None
        major = _major(postgres_folder())
        # Data of one major version is unreadable to another.
        self._data = folder / f"postgres-{major}"
        self._log = folder / "postgres.log"
        self._password_file = folder / "postgres.password"

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def url(self) -> str:
        """Where the superuser reaches the database `postgres`."""
        return self.url_of("postgres")

    @property
    def pid(self) -> int:
        """The process id of the postmaster.

        Raises:
            StackError: It is not running.
        """
        if self._child is None:
            raise StackError("postgres is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.exit_code is None

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self._log

    def url_of(self, database: str, *, user: str = SUPERUSER, password: str | None = None) -> str:
        """Return the address of a database over TCP."""
        secret = self._password() if password is None else password
        return f"postgresql://{user}:{secret}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Start, on data that is created when there is none yet.

        Raises:
            StartFailed: It did not come up; the end of its log is in the text.
        """
        if self.running:
            return
        begun = perf_counter()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            await self._create()
        await self._clear_remains()
        self.port = self.port or free_port()
        self._child = processes.start(
            [str(postgres_folder() / "postgres"), "-D", str(self._data), *self._options()],
            log=self._log,
            # A fast shutdown: connections are ended, data is written.
            death_signal=signal.SIGINT,
            unroot=self._data,
        )
        await self._wait_until_ready(self._child)
        self.start_seconds = perf_counter() - begun

    async def stop(self) -> None:
        """End connections, write everything, stop. No error when it does not run."""
        if self._child is not None:
            await self._child.stop(signal.SIGINT, grace=30)
            self._child = None

    def kill(self) -> None:
        """End it as kill -9 of every one of its processes does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

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

    def _options(self) -> list[str]:
        sockets = str(self.folder) if len(str(self.folder)) <= _SOCKET_FOLDER_MAX else ""
        settings = dict(_SETTINGS, port=str(self.port), unix_socket_directories=sockets)
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _password(self) -> str:
        return self._password_file.read_text().strip()

    async def _create(self) -> None:
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24) + "\n")
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

    async def _wait_until_ready(self, child: processes.Child) -> None:
        begun = perf_counter()
        while not _says_ready(self._data / "postmaster.pid", child.pid):
            if child.exit_code is not None:
                self._child = None
                raise self._failed("did not start")
            if perf_counter() - begun > START_LIMIT:
                self.kill()
                raise self._failed(f"was not ready after {START_LIMIT:.0f} s")
            await asyncio.sleep(processes.LOOK)

    def _failed(self, problem: str) -> StartFailed:
        return StartFailed("postgres", problem, log=self._log, tail=processes.tail(self._log))


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
