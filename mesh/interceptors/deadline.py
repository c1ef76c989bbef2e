"""Refuses what cannot finish in the time the caller gives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh import deadlines
from mesh.interceptors.middleware import Call

# A watch rightly has no end, and a probe may be as short as it likes.
_EXEMPT = frozenset({"grpc.health.v1.Health"})


@asynccontextmanager
async def keep_deadline(call: Call) -> AsyncIterator[None]:
    """Refuse a call with too little time left; remember the rest for calls of our own."""
    seconds: float | None = call.context.time_remaining()
    if seconds is not None and call.service not in _EXEMPT:
        if seconds < deadlines.LEAST.total_seconds():
            raise deadlines.too_short(seconds)
        deadlines.limit(seconds)
    yield
