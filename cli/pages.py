"""Reads lists of any length, a page at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

PAGE = 1000

Item = TypeVar("Item")


class Request(Protocol):
    """What every List request has."""

    page_size: int
    page_token: str


class Response(Protocol):
    """What every List response has."""

    @property
    def next_page_token(self) -> str:
        """For the next page; '' after the last."""
        ...


RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)


async def pages(
    method: Callable[[RequestT], Awaitable[ResponseT]],
    request: RequestT,
    items: Callable[[ResponseT], Iterable[Item]],
    *,
    limit: int | None = None,
) -> AsyncIterator[list[Item]]:
    """Yield page after page until the end, or until `limit` items."""
    left = limit
    while left is None or left > 0:
        request.page_size = PAGE if left is None else min(PAGE, left)
        response = await method(request)
        page = list(items(response))[:left]
        yield page
        left = None if left is None else left - len(page)
        request.page_token = response.next_page_token
        if not request.page_token:
            return
