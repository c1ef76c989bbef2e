"""PostgreSQL: a pool, transactions, and driver errors turned into ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg import exceptions as driver
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted, MeshError, unavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = (
        "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
    )
    Lent: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
else:
    Connection = asyncpg.Connection
    Lent = asyncpg.Connection
    Pool = asyncpg.Pool

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_LOST_RACES = (
    driver.SerializationError,
    driver.DeadlockDetectedError,
    driver.LockNotAvailableError,
)
_AWAY = (
    driver.PostgresConnectionError,
    driver.InsufficientResourcesError,
    driver.OperatorInterventionError,
    driver.ReadOnlySQLTransactionError,
    driver.IdleInTransactionSessionTimeoutError,
    driver.ConnectionDoesNotExistError,
    driver.CannotConnectNowError,
    # What the driver says when the server's last word ("terminating connection") came
    # between two statements.
    driver.InternalClientError,
    ConnectionError,
    TimeoutError,
)


class Database:
    """One schema of a PostgreSQL, through a pool."""

    def __init__(self, pool: Pool, pinger: "_Pinger", *, acquire_timeout: float) -> None:
        """Use `connect` instead."""
        self.pool = pool
        self._pinger = pinger
        self._acquire_timeout = acquire_timeout

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; every statement commits by itself."""
        with translated():
            connection = await self._acquire()
            try:
                yield connection
            finally:
                await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, which commits at the end.

        When it leaves by an error nothing has happened; only `Unavailable` may
        hide a commit that reached the server and whose answer was lost.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def ping(self) -> None:
        """Return when the server answers; over a connection of its own.

        A pool that is busy must not look like a server that is away.
        """
        with translated():
            await self._pinger.ping()

    async def _acquire(self) -> Lent:
        try:
            return await self.pool.acquire(timeout=self._acquire_timeout)
        except OSError as error:
            # No such host, no route, no socket file: not only ConnectionError.
            raise unavailable("postgres") from error

    async def _release(self, connection: Lent) -> None:
        # Of one that is lost or does not answer, the pool has let go; what the body
        # raised says more.
        with suppress(
            driver.InterfaceError,
            driver.InternalClientError,
            driver.PostgresError,
            TimeoutError,
            ConnectionError,
        ):
            await self.pool.release(connection, timeout=self._acquire_timeout)


@asynccontextmanager
async def connect(
    url: str,
    *,
    schema: str,
    size: int = 10,
    size_min: int = 1,
    application: str = "beckon",
    timeout: timedelta = timedelta(seconds=10),
    statement_cache: int = 256,
) -> AsyncIterator[Database]:
    """Open a pool of at most `size` connections whose search path is `schema`.

    `timeout` bounds every statement, on both sides, and the wait for a free
    connection. A server that restarts is met again by the next statement.
    """
    if not _SCHEMA.fullmatch(schema):
        message = f"not a schema name: {schema!r}"
        raise ValueError(message)
    seconds = timeout.total_seconds()
    server_settings = {
        "search_path": schema,
        "application_name": f"{application}/{schema}",
        # Plans here are index look-ups by array: compiling them never pays.
        "jit": "off",
        # When the client cannot reach it any more, the server gives up by itself.
        "statement_timeout": str(round(seconds * 1000)),
        "idle_in_transaction_session_timeout": "60000",
    }
    with translated():
        try:
            pool: Pool = await asyncpg.create_pool(
                url,
                min_size=min(size_min, size),
                max_size=size,
                timeout=min(seconds, 5.0),
                command_timeout=seconds,
                statement_cache_size=statement_cache,
                # Our statements are few and fixed; they stay prepared.
                max_cached_statement_lifetime=0,
                server_settings=server_settings,
                reset=_leave_as_is,
            )
        except OSError as error:
            raise unavailable("postgres") from error
    pinger = _Pinger(url)
    try:
        yield Database(pool, pinger, acquire_timeout=seconds)
    finally:
        pinger.close()
        await _close(pool, seconds)


async def _leave_as_is(connection: Connection) -> None:
    """Do without the driver's reset: a round trip and four statements at every release.

    Nothing here outlives a transaction but LISTEN, and who listens keeps its connection. A
    transaction that was left open is rolled back all the same.
    """


@contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors into ours: a lost race is Aborted, a server away Unavailable.

    What is left is a bug (or a unique violation, which the store decides).
    """
    try:
        yield
    except MeshError:
        raise
    except _LOST_RACES as error:
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster") from error
    except _AWAY as error:
        raise unavailable("postgres") from error
    except driver.InterfaceError as error:
        # The class covers misuse too; only lost connections are not our bug. Rolling back on one
        # that has just been lost is reported as misuse.
        if "clos" in str(error) or isinstance(error.__context__, _AWAY):
            raise unavailable("postgres") from error
        raise


class _Pinger:
    """One connection for health, opened when needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def ping(self) -> None:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._url, timeout=5, command_timeout=5, statement_cache_size=0
                )
            await self._connection.execute("SELECT 1")
        except BaseException as error:
            # Half an answer may be on the wire: never use it again.
            self.close()
            if isinstance(error, OSError):
                raise unavailable("postgres") from error
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def _close(pool: Pool, seconds: float) -> None:
    try:
        await asyncio.wait_for(pool.close(), seconds)
    except (TimeoutError, OSError, driver.InterfaceError, driver.PostgresError):
        pool.terminate()


TransactionContext: TypeAlias = AbstractAsyncContextManager[Connection]
