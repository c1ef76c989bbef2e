"""Posts over HTTP/1.1, for many small requests: a sixth of a general client's cost for each.

It knows one method, follows nothing, and reads of an answer what says what happened.
"""

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple, cast

import httptools

from services.delivery.model import DEFAULT_PORTS, Target

# An answer says all in its status; more of its body than this is not even read.
_BODY_BYTES_MAX = 64 << 10
_HEAD_BYTES_MAX = 64 << 10
# Hosts close what lies idle, mostly after a minute or more.
_IDLE_SECONDS = 20.0
# Addresses of names are asked for again after this.
_RESOLVED_SECONDS = 30.0
_RESOLVED_MAX = 1000
_FINAL = 200


class Reply(NamedTuple):
    """What a host answered."""

    status: int
    retry_after: str


class NotConnectedError(Exception):
    """No connection could be made: nothing was sent."""


class NoReplyError(Exception):
    """The request went out, and no answer came back."""

    def __init__(self, *, stale: bool = False) -> None:
        """Say whether the connection had been kept and was closed before a first byte."""
        super().__init__()
        self.stale = stale


class ForbiddenAddressError(Exception):
    """The name leads where we may not go."""


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, idle: list["_Connection"]) -> None:
        self.kept = False
        """Whether it served before."""
        self.idle_since = 0.0
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._retry_after = ""
        self._heard = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but name.
        self._transport = cast("asyncio.Transport", transport)

    def post(self, loop: asyncio.AbstractEventLoop, content: bytes) -> "asyncio.Future[Reply]":
        self._waiter = loop.create_future()
        self._status = self._heard = 0
        self._retry_after = ""
        if self._transport is None:
            self._fail()
        else:
            self._transport.write(content)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            # Nobody asked.
            self.close()
            return
        self._heard += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(keep=False)
            return
        if self._heard > (_BODY_BYTES_MAX if self._status else _HEAD_BYTES_MAX):
            self._end(keep=False)

    def connection_lost(self, error: Exception | None) -> None:
        del error  # whatever it was, no answer came
        self._transport = None
        if self in self._idle:
            self._idle.remove(self)
        self._end(keep=False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def expire(self) -> None:
        """Give up waiting."""
        self._end(keep=False)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == len(b"retry-after") and name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        if self._status < _FINAL:
            # Early Hints and their like: the answer is yet to come.
            self._status = 0
            return
        self._end(keep=bool(self._parser.should_keep_alive()))

    def _end(self, *, keep: bool) -> None:
        waiter, self._waiter = self._waiter, None
        if not keep:
            self.close()
        if waiter is None or waiter.done():
            return
        if self._status >= _FINAL:
            waiter.set_result(Reply(self._status, self._retry_after))
        else:
            waiter.set_exception(NoReplyError(stale=self.kept and not self._heard))
        if keep:
            self.kept = True
            self.idle_since = waiter.get_loop().time()
            self._idle.append(self)

    def _fail(self) -> None:
        if self._waiter is not None:
            self._waiter.set_exception(NoReplyError(stale=True))
            self._waiter = None


class Poster:
    """Connections to all hosts, kept while they are used."""

    def __init__(
        self,
        *,
        timeout: timedelta,
        may_reach: Callable[[Target, str], bool],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take who may be reached: what is checked is what is connected to."""
        self._timeout = timeout.total_seconds()
        self._may_reach = may_reach
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}
        self._resolved: dict[tuple[str, int], tuple[float, list[str]]] = {}

    def close(self) -> None:
        """Close what is kept."""
        for idle in self._idle.values():
            for connection in list(idle):
                connection.close()
            idle.clear()

    async def post(self, target: Target, headers: str, body: bytes) -> Reply:
        """Post a body with further header lines, each ended.

        Raises:
            NotConnectedError: Nothing was sent.
            NoReplyError: It was sent, and nobody knows what became of it.
            ForbiddenAddressError: The host may not be reached.
        """
        content = f"{_head(target)}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
        idle = self._idle.setdefault((target.scheme, target.host, target.port), [])
        until = self._loop.time() + self._timeout
        connection = self._kept(idle)
        if connection is not None:
            try:
                return await self._ask(connection, content, until)
            except NoReplyError as error:
                if not error.stale:
                    raise
                # The host closed it while it lay idle, and most likely read nothing; if it
                # did, the key makes this a repeat like any other.
        return await self._ask(await self._connect(target, idle), content, until)

    async def _ask(self, connection: _Connection, content: bytes, until: float) -> Reply:
        waiter = connection.post(self._loop, content)
        timer = self._loop.call_at(until, connection.expire)
        try:
            return await waiter
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            timer.cancel()

    def _kept(self, idle: list[_Connection]) -> _Connection | None:
        if idle:
            # The one used last: the others may grow old and go.
            connection = idle.pop()
            oldest = self._loop.time() - _IDLE_SECONDS
            if connection.idle_since >= oldest:
                if idle and idle[0].idle_since < oldest:
                    idle.pop(0).close()
                return connection
            connection.close()
            for each in list(idle):
                each.close()
            idle.clear()
        return None

    async def _connect(self, target: Target, idle: list[_Connection]) -> _Connection:
        try:
            async with asyncio.timeout(self._timeout / 2):
                addresses = await self._resolve(target)
                allowed = [one for one in addresses if self._may_reach(target, one)]
                if not allowed:
                    raise ForbiddenAddressError
                return await self._connect_to(target, allowed, idle)
        except (OSError, UnicodeError) as error:
            # Among them TimeoutError, and what TLS has to complain of.
            raise NotConnectedError from error

    async def _connect_to(
        self, target: Target, addresses: list[str], idle: list[_Connection]
    ) -> _Connection:
        tls = None
        if target.scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        for index, address in enumerate(addresses):
            try:
                _, connection = await self._loop.create_connection(
                    partial(_Connection, idle),
                    address,
                    target.port,
                    ssl=tls,
                    server_hostname=target.host if tls else None,
                )
            except OSError:
                if index == len(addresses) - 1:
                    raise
            else:
                return connection
        raise NotConnectedError

    async def _resolve(self, target: Target) -> list[str]:
        key = (target.host, target.port)
        now = self._loop.time()
        known = self._resolved.get(key)
        if known is not None and now - known[0] < _RESOLVED_SECONDS:
            return known[1]
        found = await self._loop.getaddrinfo(target.host, target.port, type=1)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if len(self._resolved) >= _RESOLVED_MAX:
            self._resolved.clear()
        self._resolved[key] = (now, addresses)
        return addresses


def _head(target: Target) -> str:
    # The target's parts are printable ASCII without spaces: nothing in them ends a line.
    host = f"[{target.host}]" if _is_v6(target.host) else target.host
    if target.port != DEFAULT_PORTS[target.scheme]:
        host = f"{host}:{target.port}"
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: beckon\r\n"
        "Content-Type: application/json\r\n"
    )


def _is_v6(host: str) -> bool:
    return ":" in host and ip_address(host).version == 6  # noqa: PLR2004
