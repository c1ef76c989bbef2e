"""Posts webhooks, over connections that are kept, to hosts that are allowed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

from mesh.clock import Clock
from services.delivery.model import AllowedHost, Answer, Outcome, Target
from services.delivery.providers.http1 import (
    ForbiddenAddressError,
    NoReplyError,
    NotConnectedError,
    Poster,
)
from services.delivery.providers.provider import Webhook
from services.delivery.rules import address_allowed, host_allowed, http_outcome

# A host that asks for more is not worth waiting for; the delivery's expiry bounds it too.
_RETRY_AFTER_MAX = timedelta(days=1)
_FORBIDDEN = Answer(Outcome.REFUSED, "HOST_FORBIDDEN")


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
        self._timeout = timeout
        self._poster: Poster | None = None

    async def __aenter__(self) -> Self:
        """Make ready."""
        self._poster = Poster(timeout=self._timeout, may_reach=self._may_reach)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the kept connections."""
        if self._poster is not None:
            self._poster.close()

    async def send(self, message: Webhook) -> Answer:
        """Post once; a redirect is not followed."""
        target = message.target
        if not host_allowed(target, self._allowed):
            return _FORBIDDEN
        headers = f"Idempotency-Key: {message.delivery_id}\r\n"
        if message.traceparent:
            headers += f"traceparent: {message.traceparent}\r\n"
        assert self._poster is not None
        try:
            reply = await self._poster.post(target, headers, message.body)
        except ForbiddenAddressError:
            return _FORBIDDEN
        except NotConnectedError:
            return Answer(Outcome.TRY_LATER, "connection_failed")
        except NoReplyError:
            # It may have arrived, and the key makes a repeat safe.
            return Answer(Outcome.NO_ANSWER, "no_answer")
        wait = retry_after(reply.retry_after, self._clock.now()) if reply.retry_after else None
        return Answer(http_outcome(reply.status), str(reply.status), retry_after=wait)

    def _may_reach(self, target: Target, address: str) -> bool:
        return address_allowed(target, address, self._allowed)


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
