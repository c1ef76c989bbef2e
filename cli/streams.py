"""Reads streams from services to their end, also when they break in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio

# A service that restarts is back within seconds; one that is gone should be told about.
_ATTEMPTS = 6
_FIRST_WAIT = 0.2

Request = TypeVar("Request")
Response = TypeVar("Response")


async def resumed(
    method: Callable[[Request], Any], request: Request, took: Callable[[Any], None]
) -> AsyncIterator[Any]:
    """Yield what a method streams; `took` moves the request behind each answer received.

    Raises:
        AioRpcError: The service refused, or stayed away.
    """
    attempt = 0
    while True:
        call = method(request)
        try:
            async for response in call:
                attempt = 0
                took(response)
                yield response
        except grpc.aio.AioRpcError as error:
            attempt += 1
            if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt >= _ATTEMPTS:
                raise
            await asyncio.sleep(_FIRST_WAIT * 2 ** (attempt - 1))
        else:
            return
        finally:
            call.cancel()
