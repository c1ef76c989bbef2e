"""Redis: a client with everything pinned, scripts, and driver errors turned into ours."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import hiredis
import redis.asyncio as driver
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.typing import EncodableT

from mesh.errors import MeshError, unavailable

if TYPE_CHECKING:
    Redis: TypeAlias = driver.Redis
else:
    Redis = driver.Redis

Argument: TypeAlias = str | bytes | int | float

_AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    OSError,
    TimeoutError,
)


class PackedConnection(driver.Connection):
    """A connection whose commands are put together by hiredis.

    The asyncio driver parses with hiredis but packs in Python, at 3 us an
    argument; a command of 500 ids would cost more than all else done for them.
    """

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        """Return one command as bytes."""
        name = args[0]
        # "SCRIPT LOAD" is two words on the wire.
        words = name.split() if isinstance(name, str) else [name]
        return [hiredis.pack_command((*words, *args[1:]))]

    def pack_commands(self, commands: Iterable[Iterable[EncodableT]]) -> list[bytes]:
        """Return the commands of a pipeline as bytes."""
        return [b"".join([self.pack_command(*command)[0] for command in commands])]


@asynccontextmanager
async def connect(
    url: str,
    *,
    size: int = 64,
    timeout: timedelta = timedelta(seconds=5),
    name: str = "beckon",
) -> AsyncIterator[Redis]:
    """Open a client of at most `size` connections; answers are bytes.

    It never repeats a command by itself: a lost answer may hide a command that
    ran, so only who knows the command may repeat it. A caller beyond `size`
    waits. Blocking reads must ask for less time than `timeout`.
    """
    pool = driver.BlockingConnectionPool.from_url(
        url,
        # Of redis:// only; TLS and sockets in the file system have classes of their own.
        connection_class=PackedConnection,
        max_connections=size,
        timeout=timeout.total_seconds(),
        # Answers have other shapes under 3.
        protocol=2,
        decode_responses=False,
        socket_timeout=timeout.total_seconds(),
        socket_connect_timeout=min(2.0, timeout.total_seconds()),
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        client_name=name,
    )
    client = driver.Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.aclose()


@contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors that mean "away" into Unavailable; the rest is a bug."""
    try:
        yield
    except MeshError:
        raise
    except _AWAY as error:
        raise unavailable("redis") from error


async def ping(client: Redis) -> None:
    """Return when the server answers."""
    with translated():
        await client.ping()


class Script:
    """A Lua script that is sent once and called by its hash."""

    def __init__(self, source: str) -> None:
        """Take the text of the script."""
        self.source = source
        # Redis names scripts by SHA-1; nothing here relies on its strength.
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def from_file(cls, path: Path) -> "Script":
        """Read the script from a file."""
        return cls(path.read_text(encoding="utf-8"))

    async def __call__(
        self, client: Redis, keys: Sequence[Argument], args: Sequence[Argument] = ()
    ) -> object:
        """Run it; sends the text again when the server has forgotten it.

        Keys must all be of one slot (the same `{tag}`).
        """
        with translated():
            try:
                return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await client.execute_command("EVAL", self.source, len(keys), *keys, *args)

    async def load(self, client: Redis) -> None:
        """Send the text, before a pipeline that calls it by `sha`."""
        with translated():
            await client.execute_command("SCRIPT LOAD", self.source)
