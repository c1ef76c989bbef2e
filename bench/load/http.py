"""The generator for the baseline: HTTP/1.1 over kept connections, a request at a time on each."""

import asyncio

from bench.load.plan import Plan
from bench.load.spec import Load


async def run(load: Load, plan: Plan) -> None:
    """Send the load over its lanes."""
    await asyncio.gather(*(_lane(load, plan) for _ in range(load.lanes)))


async def _lane(load: Load, plan: Plan) -> None:
    host, port = load.target.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/events HTTP/1.1\r\nhost: {load.target}\r\ncontent-type: application/json\r\n".encode()
    try:
        while (taken := await plan.take()) is not None:
            number, body = taken
            writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            if await _accepted(reader):
                plan.answered(number, accepted=load.shape.batch_size)
            else:
                plan.lost()
    finally:
        writer.close()


async def _accepted(reader: asyncio.StreamReader) -> bool:
    """Read one answer with a length; say whether it is a success."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    start = head.find(b"content-length:") + 15
    await reader.readexactly(int(head[start : head.find(b"\r\n", start)]))
    return head[9:10] == b"2"
