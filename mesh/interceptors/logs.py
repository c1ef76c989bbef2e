"""One line and one measurement for each call, with the code it ended with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import grpc
import structlog
from structlog.contextvars import bound_contextvars

from mesh import callers, metrics
from mesh.interceptors.middleware import Call, code_of

log = structlog.get_logger(__name__)

# Asked every second by probes.
_QUIET = frozenset({"grpc.health.v1.Health"})


@asynccontextmanager
async def log_calls(call: Call) -> AsyncIterator[None]:
    """Log how the call ended, whoever ended it."""
    started = perf_counter()
    cancelled = False
    with bound_contextvars(rpc=call.method):
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            cancelled = True
            raise
        finally:
            seconds = perf_counter() - started
            code = grpc.StatusCode.CANCELLED if cancelled else code_of(call)
            caller = callers.current_caller()
            write = log.debug if call.service in _QUIET else log.info
            write(
                "rpc_finished",
                code=code.name,
                caller=caller.name if caller is not None else "unknown",
                seconds=round(seconds, 6),
            )
            metrics.rpc_finished(call.method, code.name, seconds)
