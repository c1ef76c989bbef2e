"""Puts each call into its caller's trace, so that logs and calls of our own carry it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from structlog.contextvars import bound_contextvars

from mesh import tracing
from mesh.interceptors.middleware import Call, code_of

_current: ContextVar[str] = ContextVar("beckon_traceparent", default="")

# Probes would be most of all traces.
_EXEMPT = frozenset({"grpc.health.v1.Health"})


def current_traceparent() -> str:
    """Return the W3C traceparent to send along from here, '' when there is none.

    The caller's own where this process records no spans: the trace goes on.
    """
    return tracing.current_traceparent() or _current.get()


@asynccontextmanager
async def follow_trace(call: Call) -> AsyncIterator[None]:
    """Record the call as a span of its caller's trace, or of one that begins here."""
    if call.service in _EXEMPT:
        yield
        return
    sent = call.metadata("traceparent")
    known = tracing.parse_traceparent(sent) if sent else None
    if known is None:
        sent = ""
    _current.set(sent)
    with tracing.start_rpc_span(f"/{call.method}", traceparent=sent) as span:
        here = current_traceparent()
        try:
            if here:
                with bound_contextvars(trace_id=here.split("-")[1]):
                    yield
            else:
                yield
        finally:
            tracing.set_rpc_status(span, code_of(call))
