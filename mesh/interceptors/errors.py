"""Turns exceptions into statuses. The only place that does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc.aio
import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Internal, MeshError, from_rpc_error, to_status
from mesh.interceptors.middleware import Call

log = structlog.get_logger(__name__)


@asynccontextmanager
async def map_errors(call: Call) -> AsyncIterator[None]:
    """End the call with the status of whatever is raised below."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except MeshError as error:
        if isinstance(error, Internal):
            await _end_as_bug(call, error)
        await call.context.abort_with_status(to_status(error))
    except grpc.aio.AioRpcError as error:
        # A peer refused. Clients say better which one; here only its kind counts.
        mapped = from_rpc_error(error, dependency="a peer")
        if isinstance(mapped, Internal):
            await _end_as_bug(call, error)
        await call.context.abort_with_status(to_status(mapped))
    except GeneratorExit:
        raise
    except asyncio.CancelledError:
        # The caller hung up, its time ran out, or we are stopping.
        raise
    except Exception as error:  # noqa: BLE001 — the boundary: a call's bug stays in the call
        await _end_as_bug(call, error)


async def _end_as_bug(call: Call, error: Exception) -> None:
    # The caller gets an id to quote, never our text: it may hold SQL, a
    # provider's answer or somebody's address.
    error_id = uuid4().hex
    log.error("rpc_crashed", error_id=error_id, exc_info=error)
    internal = Internal(
        ErrorReason.ERROR_REASON_INTERNAL, "internal error", metadata={"errorId": error_id}
    )
    await call.context.abort_with_status(to_status(internal))
