"""What tests say over HTTP."""

import aiohttp


async def put(url: str, body: bytes) -> None:
    """Put a body at an address; whatever is no success is an error."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await session.put(url, data=body)
