"""The webhook sink: counts what arrives and when, by order and by idempotency key.

Run as a process of its own: `python -m bench.load.sink PORT`. It speaks just enough HTTP/1.1, written on asyncio's protocol, to
answer 200 many thousand times a second on little CPU: kept connections, pipelining, bodies with a length. `GET /stats` tells the counts, `GET
/arrivals` every order with its time on the machine's monotonic clock, `POST /reset` forgets everything.
"""

import asyncio
import sys
import time

import msgspec

from bench.load.events import ORDER

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_END = b"\r\n\r\n"


class Stats(msgspec.Struct):
    """What has arrived since the last reset."""

    requests: int = 0
    keys: int = 0
    """Different idempotency keys."""
    orders: int = 0
    """Different events that a message arrived for."""
    first_ns: int = 0
    last_ns: int = 0
    """Arrival of the newest request, on the monotonic clock."""


class Sink:
    """What has arrived; shared by all connections."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests = 0
        self.keys: set[bytes] = set()
        self.arrivals: dict[bytes, int] = {}
        self.first_ns = 0
        self.last_ns = 0

    def arrive(self, head: bytes, body: bytes) -> None:
        """Note one message."""
        now = time.monotonic_ns()
        self.requests += 1
        self.first_ns = self.first_ns or now
        self.last_ns = now
        lowered = head.lower()
        start = lowered.find(b"\r\nidempotency-key:")
        if start >= 0:
            start += 18
            self.keys.add(head[start : head.find(b"\r\n", start)].strip())
        found = ORDER.search(body)
        if found is not None:
            self.arrivals.setdefault(found.group(), now)

    def stats(self) -> Stats:
        """Return the counts."""
        return Stats(self.requests, len(self.keys), len(self.arrivals), self.first_ns, self.last_ns)

    def answer(self, head: bytes) -> bytes | None:
        """Answer one of the sink's own requests; None when it is a message."""
        if head.startswith(b"GET /stats"):
            return _reply(msgspec.json.encode(self.stats()))
        if head.startswith(b"GET /arrivals"):
            return _reply(b"".join(b"%b %d\n" % pair for pair in self.arrivals.items()))
        if head.startswith(b"POST /reset"):
            self.reset()
            return _OK
        return None


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, sink: Sink) -> None:
        """Share the sink."""
        self._sink = sink
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        # uvloop's transports inherit from none of asyncio's classes, so an isinstance would fail.
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take every whole request that has arrived and answer all of them in one write."""
        received = self._received + data if self._received else data
        replies: list[bytes] = []
        while (end := received.find(_END)) >= 0:
            head = received[:end]
            body_end = end + 4 + _length(head)
            if len(received) < body_end:
                break
            replies.append(self._take(head, received[end + 4 : body_end]))
            received = received[body_end:]
        self._received = received
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))

    def _take(self, head: bytes, body: bytes) -> bytes:
        reply = self._sink.answer(head)
        if reply is None:
            self._sink.arrive(head, body)
            return _OK
        return reply


def _length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    start += 17
    end = lowered.find(b"\r\n", start)
    return int(lowered[start:] if end < 0 else lowered[start:end])


async def _serve(port: int) -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(sink), "127.0.0.1", port
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


def main() -> None:
    """Serve until killed; the first line of output is the port."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(int(sys.argv[1])))
    else:
        uvloop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
