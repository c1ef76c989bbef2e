"""Posts webhooks, over connections that are kept, to hosts that are allowed."""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mesh.clock import Clock
from services.delivery.model import AllowedHost, Answer, Outcome, Target
from services.delivery.providers.provider import Webhook
from services.delivery.rules import address_allowed, host_allowed, http_outcome

# An answer says all in its status; more of its body than this is not even read.
_BODY_BYTES_MAX = 64 << 10
# A host that asks for more is not worth waiting for; the delivery's expiry bounds it too.
_RETRY_AFTER_MAX = timedelta(days=1)


class _ForbiddenError(Exception):
    """The name leads where we may not go."""


class WebhookProvider:
    """All hosts of webhooks. They drop repeats by `Idempotency-Key`: that is their contract."""

    repeat_safe = True

    def __init__(
        self,
        *,
        allowed: Sequence[AllowedHost],
        clock: Clock,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        """Take the allow-list; connections are made when needed."""
        self._allowed = allowed
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total_seconds(), sock_connect=timeout.total_seconds() / 2
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make ready."""
        connector = aiohttp.TCPConnector(
            # In flight are only as many as the worker allows, per host.
            limit=0,
            resolver=_Resolver(self._allowed),
            use_dns_cache=True,
            ttl_dns_cache=30,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "beckon", "Content-Type": "application/json"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the kept connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, message: Webhook) -> Answer:
        """Post once; a redirect is not followed."""
        target = message.target
        if not host_allowed(target, self._allowed):
            return Answer(Outcome.REFUSED, "HOST_FORBIDDEN")
        if _is_address(target.host) and not address_allowed(target, target.host, self._allowed):
            return Answer(Outcome.REFUSED, "HOST_FORBIDDEN")
        headers = {"Idempotency-Key": message.delivery_id}
        if message.traceparent:
            headers["traceparent"] = message.traceparent
        assert self._session is not None
        try:
            async with self._session.post(
                _url(target), data=message.body, headers=headers, allow_redirects=False
            ) as response:
                if await _longer(response):
                    response.close()
                return Answer(
                    http_outcome(response.status),
                    str(response.status),
                    retry_after=retry_after(
                        response.headers.get("Retry-After", ""), self._clock.now()
                    ),
                )
        except _ForbiddenError:
            return Answer(Outcome.REFUSED, "HOST_FORBIDDEN")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return Answer(Outcome.TRY_LATER, "connection_failed")
        except (aiohttp.ClientError, OSError):
            # Among them TimeoutError: it may have arrived, and the key makes a repeat safe.
            return Answer(Outcome.NO_ANSWER, "no_answer")


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Return how long a host asks to be left alone: seconds, or a date; nonsense is ignored."""
    if value.isascii() and value.isdecimal():
        return timedelta(seconds=min(int(value[:9]), _RETRY_AFTER_MAX.total_seconds()))
    if not value:
        return None
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), _RETRY_AFTER_MAX)


class _Resolver(AbstractResolver):
    """Resolves names, and drops addresses that are not allowed: what is checked is connected to."""

    def __init__(self, allowed: Sequence[AllowedHost]) -> None:
        self._allowed = allowed
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        target = Target("", host, port, "")
        good = [one for one in found if address_allowed(target, one["host"], self._allowed)]
        if not good:
            raise _ForbiddenError
        return good

    async def close(self) -> None:
        await self._inner.close()


def _url(target: Target) -> URL:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return URL(f"{target.scheme}://{host}:{target.port}{target.path}", encoded=True)


def _is_address(host: str) -> bool:
    # Of anything else, `127.1` included, the resolver looks at what it leads to.
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _longer(response: aiohttp.ClientResponse) -> bool:
    read = 0
    async for chunk in response.content.iter_any():
        read += len(chunk)
        if read > _BODY_BYTES_MAX:
            return True
    return False
