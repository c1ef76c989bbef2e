"""Posts webhooks, over connections that are kept, to hosts that are allowed."""

import asyncio
import math
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import ip_address
from socket import AddressFamily
from types import SimpleNamespace, TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mesh.clock import Clock
from services.delivery.model import AllowedHost, Answer, Outcome, Target
from services.delivery.providers.provider import Webhook
from services.delivery.rules import address_allowed, host_allowed, http_outcome

# A host that asks for more is not worth waiting for; the delivery's expiry bounds it too.
_RETRY_AFTER_MAX = timedelta(days=1)
# An answer says all in its status; more of its body than this is not even read.
_BODY_BYTES_MAX = 64 << 10
# Hosts close what lies idle, mostly after a minute or more.
_IDLE_SECONDS = 20.0
# Addresses of names are asked for, and checked, again after this.
_RESOLVED_SECONDS = 30
# Targets whose check and URL are remembered: building a URL costs more than a look-up.
_TARGETS_MAX = 1000

_FORBIDDEN: Final = Answer(Outcome.REFUSED, "HOST_FORBIDDEN")
_NOT_CONNECTED: Final = Answer(Outcome.TRY_LATER, "connection_failed")
_NO_ANSWER: Final = Answer(Outcome.NO_ANSWER, "no_answer")


class WebhookProvider:
    """All hosts of webhooks. They drop repeats by `Idempotency-Key`: that is their contract."""

    repeat_safe = True

    def __init__(
        self,
        *,
        allowed: Sequence[AllowedHost],
        clock: Clock,
        timeout: timedelta = timedelta(seconds=10),
        connections: int = 100,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the allow-list and the most connections to one host, made when needed."""
        self._allowed = allowed
        self._clock = clock
        self._timeout = timeout.total_seconds()
        self._times = _within(self._timeout)
        self._connections = connections
        self._tls = tls
        self._url = lru_cache(_TARGETS_MAX)(self._checked_url)
        self._session: aiohttp.ClientSession | None = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make ready."""
        # With aiohttp delivery takes about 95 us more of a processor for a message than with a
        # bare client of our own, which knew one method and was ours to keep: its requests, answers
        # and timers are objects, and a task writes. Of these, 7 tell kept connections.
        watch = aiohttp.TraceConfig()
        watch.on_connection_reuseconn.append(_note_kept)
        self._session = await self._resources.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self._connections,
                    keepalive_timeout=_IDLE_SECONDS,
                    resolver=_CheckedResolver(self._may_reach),
                    ttl_dns_cache=_RESOLVED_SECONDS,
                    ssl=self._tls or True,
                ),
                headers={"User-Agent": "beckon", "Content-Type": "application/json"},
                skip_auto_headers=("Accept", "Accept-Encoding"),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # A proxy or a password out of the environment is nobody's intention here.
                trust_env=False,
                trace_configs=[watch],
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the kept connections."""
        await self._resources.aclose()

    async def send(self, message: Webhook) -> Answer:
        """Post once; a redirect is not followed."""
        url = self._url(message.target)
        if url is None:
            return _FORBIDDEN
        loop = asyncio.get_running_loop()
        end, times = loop.time() + self._timeout, self._times
        while True:
            kept = _Kept()
            answer = await self._post(url, message, kept, times)
            if not kept.broke or loop.time() >= end:
                return answer
            # The host closed it while it lay idle, and most likely read nothing; if it did,
            # the key makes this a repeat like any other. A connection breaks but once.
            times = _within(end - loop.time())

    async def _post(
        self, url: URL, message: Webhook, kept: "_Kept", times: aiohttp.ClientTimeout
    ) -> Answer:
        headers = {"Idempotency-Key": message.delivery_id}
        if message.traceparent:
            headers["traceparent"] = message.traceparent
        assert self._session is not None
        try:
            response = await self._session.post(
                url,
                data=message.body,
                headers=headers,
                allow_redirects=False,
                timeout=times,
                trace_request_ctx=kept,
            )
        except (_ForbiddenAddressError, aiohttp.InvalidURL):
            # The latter are IPv4 addresses in odd spellings.
            return _FORBIDDEN
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return _NOT_CONNECTED
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            kept.broke = kept.used
            return _NO_ANSWER
        except (aiohttp.ClientError, TimeoutError):
            # It may have arrived, and the key makes a repeat safe.
            return _NO_ANSWER
        status, asked = response.status, response.headers.get("Retry-After")
        await _read_off(response)
        wait = retry_after(asked, self._clock.now()) if asked else None
        return Answer(http_outcome(status), str(status), retry_after=wait)

    def _checked_url(self, target: Target) -> URL | None:
        """Return where to post, or None where we may not go."""
        if not host_allowed(target, self._allowed):
            return None
        host = f"[{target.host}]" if ":" in target.host else target.host
        try:
            # As it is: a template's author decides how a path is spelled.
            url = URL(f"{target.scheme}://{host}:{target.port}{target.path}", encoded=True)
        except ValueError:
            return None
        if url.raw_host != target.host or url.port != target.port:
            return None
        return url if self._may_name(target) else None

    def _may_name(self, target: Target) -> bool:
        """Say whether the host is a name, or an address we may go to.

        What looks like an address is connected to without asking the resolver.
        """
        try:
            ip_address(target.host)
        except ValueError:
            return ":" not in target.host
        return self._may_reach(target, target.host)

    def _may_reach(self, target: Target, address: str) -> bool:
        return address_allowed(target, address, self._allowed)


class _Kept:
    """What is known of the connection that one request went over."""

    __slots__ = ("broke", "used")

    def __init__(self) -> None:
        self.used = False
        """It had served before."""
        self.broke = False
        """It had, and ended without an answer to this request."""


def _within(seconds: float) -> aiohttp.ClientTimeout:
    # Exact: rounded up to whole seconds, as is the default, a try could outlive its lease.
    return aiohttp.ClientTimeout(total=seconds, connect=seconds / 2, ceil_threshold=math.inf)


async def _note_kept(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    del session, params
    context.trace_request_ctx.used = True


class _ForbiddenAddressError(Exception):
    """The name leads where we may not go."""


class _CheckedResolver(AbstractResolver):
    """Resolves names to addresses that we may go to: what is checked is what is connected to."""

    def __init__(self, may_reach: Callable[[Target, str], bool]) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._may_reach = may_reach

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            found = await self._resolver.resolve(host, port, family)
        except UnicodeError as error:
            message = "not a host's name"
            raise OSError(message) from error
        target = Target("", host, port, "")
        allowed = [one for one in found if self._may_reach(target, one["host"])]
        if not allowed:
            raise _ForbiddenAddressError
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


async def _read_off(response: aiohttp.ClientResponse) -> None:
    """Read the rest of a body, so that the connection can be kept; drop one that has more."""
    content = response.content
    left = _BODY_BYTES_MAX
    try:
        while left > 0 and not content.is_eof():
            left -= len(await content.readany())
    except (aiohttp.ClientError, TimeoutError):
        # The status is known, and says all.
        pass
    except BaseException:
        response.close()
        raise
    response.release()


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Return how long a host asks to be left alone: seconds, or a date; nonsense is ignored."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return timedelta(seconds=min(int(value[:9]), _RETRY_AFTER_MAX.total_seconds()))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), _RETRY_AFTER_MAX)
