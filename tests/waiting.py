"""Waits for what another process or task does, with a limit. The only place tests sleep in."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import perf_counter
from typing import Any, TypeVar, overload

import grpc
import grpc.aio

T = TypeVar("T")

# Two shared cores may be busy with something else for a while.
_LIMIT = 30.0
_NOT_YET = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@overload
async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], bool] = ..., *, limit: float = ...
) -> T: ...
@overload
async def eventually(
    look: Callable[[], T], holds: Callable[[T], bool] = ..., *, limit: float = ...
) -> T: ...
async def eventually(
    look: Callable[[], Any], holds: Callable[[Any], bool] = bool, *, limit: float = _LIMIT
) -> Any:
    """Look until what is seen holds, and return it; fail with what was seen last.

    A service that is starting, or too busy to answer in time, has not been seen yet.
    """
    begun = perf_counter()
    last: object = None
    while True:
        try:
            found = look()
            last = seen = await found if isawaitable(found) else found
        except grpc.aio.AioRpcError as error:
            if error.code() not in _NOT_YET:
                raise
            last = error
        else:
            if holds(seen):
                return seen
        assert perf_counter() - begun < limit, (
            f"not within {limit:.0f} s; last seen: …{str(last)[-1500:]}"
        )
        await asyncio.sleep(0.03)
