"""An embedded Redis (or Valkey, its free descendant) on a folder."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from stack import processes
from stack.binaries import redis_program
from stack.errors import StackError, StartFailed
from stack.ports import HOST, free_port

# Reading an append-only file of some gigabytes again.
START_LIMIT = 60.0

_CONFIGURATION = """\
bind {host}
port {port}
dir "{folder}"
requirepass {password}
# What is acknowledged is on the disk.
appendonly yes
appendfsync {fsync}
# A kill in the middle of a write leaves half a command at the end: drop it and go on.
aof-load-truncated yes
save ""
# Counters and the event log may not vanish silently; a write that does not fit is an error.
maxmemory-policy noeviction
tcp-backlog 128
daemonize no
"""


class Redis:
    """One Redis server: its data, its password and its log live in `folder`.

    A write that was acknowledged survives `kill` and a new `start`, unless `durable` is False.
    """

    def __init__(self, folder: Path, *, port: int = 0, durable: bool = True) -> None:
        """Describe a server; port 0 is chosen at the first start and then kept."""
        self.folder = folder
        self.port = port
        self.start_seconds = 0.0
        """How long the last start took, reading the data included."""
        self._durable = durable
        self._child: processes.Child | None = None
        self._data = folder / "redis"
        self._log = folder / "redis.log"
        self._password_file = folder / "redis.password"

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
        """Where clients reach database 0."""
        return self.url_of(0)

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            StackError: It is not running.
        """
        if self._child is None:
            raise StackError("redis is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.exit_code is None

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self._log

    def url_of(self, database: int) -> str:
        """Return the address of a numbered database."""
        return f"redis://:{self._password()}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Start, on what the folder holds.

        Raises:
            StartFailed: It did not come up; the end of its log is in the text.
        """
        if self.running:
            return
        begun = perf_counter()
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self._child = processes.start(
            [str(redis_program()), str(self._configure())],
            log=self._log,
            death_signal=signal.SIGTERM,
        )
        await self._wait_until_ready(self._child)
        self.start_seconds = perf_counter() - begun

    async def stop(self) -> None:
        """Write everything and stop. No error when it does not run."""
        if self._child is not None:
            await self._child.stop(signal.SIGTERM, grace=30)
            self._child = None

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _configure(self) -> Path:
        """Write the configuration: in a file, as `ps` shows arguments to everybody."""
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24) + "\n")
        configuration = self.folder / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                host=HOST,
                port=self.port,
                folder=self._data,
                password=self._password(),
                fsync="always" if self._durable else "no",
            )
        )
        return configuration

    def _password(self) -> str:
        return self._password_file.read_text().strip()

    async def _wait_until_ready(self, child: processes.Child) -> None:
        begun = perf_counter()
        while not await _answers(self.port, self._password()):
            if child.exit_code is not None:
                self._child = None
                raise self._failed("did not start")
            if perf_counter() - begun > START_LIMIT:
                self.kill()
                raise self._failed(f"was not ready after {START_LIMIT:.0f} s")
            await asyncio.sleep(processes.LOOK)

    def _failed(self, problem: str) -> StartFailed:
        return StartFailed("redis", problem, log=self._log, tail=processes.tail(self._log))


@asynccontextmanager
async def redis(folder: Path, *, port: int = 0, durable: bool = True) -> AsyncIterator[Redis]:
    """Run a Redis on `folder` for the length of a block."""
    async with Redis(folder, port=port, durable=durable) as server:
        yield server


async def _answers(port: int, password: str) -> bool:
    """Ask for a PONG by hand: while it loads its data, a server answers with an error."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        await writer.drain()
        return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()
