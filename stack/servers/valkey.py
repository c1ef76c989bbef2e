"""An embedded Redis (or Valkey, its free descendant) on a folder."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stack import processes
from stack.binaries import redis_program
from stack.ports import HOST
from stack.servers.server import Server

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


class Redis(Server):
    """One Redis server.

    A write that was acknowledged survives `kill` and a new `start`, unless `durable` is False.
    """

    NAME = "redis"
    STOP = signal.SIGTERM

    @property
    def url(self) -> str:
        """Where clients reach database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the address of a numbered database."""
        return f"redis://:{self._password()}@{HOST}:{self.port}/{database}"

    async def _prepare(self) -> None:
        (self.folder / "redis").mkdir(mode=0o700, exist_ok=True)
        self._make_password()

    def _launch(self) -> processes.Child:
        return processes.start(
            [str(redis_program()), str(self._configure())],
            log=self._log,
            death_signal=self.STOP,
        )

    async def _ready(self, child: processes.Child) -> bool:  # noqa: ARG002 — it answers itself
        return await _answers(self.port, self._password())

    def _configure(self) -> Path:
        """Write the configuration: in a file, as `ps` shows arguments to everybody."""
        configuration = self.folder / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                host=HOST,
                port=self.port,
                folder=self.folder / "redis",
                password=self._password(),
                fsync="always" if self._durable else "no",
            )
        )
        return configuration


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
