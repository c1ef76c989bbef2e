"""Takes the caller's trace into the call, so that logs and calls of our own carry it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from structlog.contextvars import bound_contextvars

from mesh.interceptors.middleware import Call

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

_current: ContextVar[str] = ContextVar("beckon_traceparent", default="")


def current_traceparent() -> str:
    """Return the W3C traceparent of the running call, '' when it has none."""
    return _current.get()


@asynccontextmanager
async def follow_trace(call: Call) -> AsyncIterator[None]:
    """Bind the caller's trace, when it sends one that is well formed."""
    traceparent = call.metadata("traceparent")
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        yield
        return
    _current.set(traceparent)
    with bound_contextvars(trace_id=match[1]):
        yield
