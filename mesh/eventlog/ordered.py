"""Commands to Redis that overtake nothing, sent before the answers to earlier ones have come."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from redis import exceptions

from mesh import redis

Command: TypeAlias = Sequence[redis.Argument]


class OrderedSender:
    """One connection, kept; what is sent on it is executed in the order of the calls.

    A pool would take a connection for each call, and the server would execute
    them in any order; to wait for each answer would leave server and disk idle
    for a round trip. When the connection breaks, all calls made until then fail, and those made
    until the last of them has been told: none may succeed behind one that did not, and who was
    not told yet may still hand over what follows.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Connect as `client` does, at the first call."""
        self._pool = client.connection_pool
        self._connection: redis.PackedConnection | None = None
        self._sending = asyncio.Lock()
        self._last_answered: asyncio.Future[None] | None = None
        self._breaks = 0
        # How many calls are under way, and how many of them have yet to fail of a break.
        self._calls = 0
        self._failing = 0

    async def send(self, commands: Sequence[Command]) -> None:
        """Send commands and wait for their answers, which are dropped.

        Raises:
            redis.exceptions.RedisError: The first error among the answers, or
                that the connection is gone: then any part of them may be executed.
        """
        if self._failing:
            raise _broken()
        breaks = self._breaks
        self._calls += 1
        try:
            await self._send(commands, breaks)
        finally:
            self._calls -= 1
            if self._breaks != breaks:
                self._failing -= 1

    async def _send(self, commands: Sequence[Command], breaks: int) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The lock is fair: who calls first sends first, and reads first.
        async with self._sending:
            if self._breaks != breaks:
                raise _broken()
            connection = await self._connected()
            if not connection.is_connected:
                # A reader has met its end and is about to say so. The library would connect anew,
                # and let this one pass.
                await self._give_up(connection)
                raise _broken()
            before, self._last_answered = self._last_answered, answered
            try:
                await connection.send_packed_command(
                    connection.pack_commands(commands), check_health=False
                )
            except BaseException as error:
                gone = not connection.is_connected
                await self._give_up(connection)
                answered.set_result(None)
                if gone and isinstance(error, AttributeError):
                    # A reader closed it between two steps of the library, which writes to None.
                    raise _broken() from error
                raise
        try:
            if before is not None:
                # Not cancelled with us: others wait for it too.
                await asyncio.shield(before)
            await _read(connection, len(commands))
        except exceptions.ResponseError:
            raise
        except BaseException:
            # Answers that nobody read would be taken for those of the next call.
            await self._give_up(connection)
            raise
        finally:
            answered.set_result(None)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._give_up(self._connection)

    async def _connected(self) -> redis.PackedConnection:
        if self._connection is None:
            connection = self._pool.make_connection()
            try:
                await connection.connect()
            except BaseException:
                self._break()
                raise
            self._connection = connection
        return self._connection

    async def _give_up(self, connection: redis.PackedConnection) -> None:
        if self._connection is connection:
            self._connection = None
            self._last_answered = None
            self._break()
        await connection.disconnect(nowait=True)

    def _break(self) -> None:
        self._breaks += 1
        self._failing = self._calls


async def _read(connection: redis.PackedConnection, count: int) -> None:
    failed: exceptions.ResponseError | None = None
    for _ in range(count):
        if not connection.is_connected:
            raise _broken()
        try:
            await connection.read_response()
        except exceptions.ResponseError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _broken() -> exceptions.ConnectionError:
    return exceptions.ConnectionError("the connection broke under an earlier call")
