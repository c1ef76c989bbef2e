"""The bare server that ingest is compared with: parses the same batches and appends them to the same Redis, nothing else.

No caller is checked, no event validated, no duplicate recognised, nothing traced or counted. Two variants:

- `batch`: touches no event; one entry a batch, the batch as it was parsed.
- `partitioned`: touches every event to find its partition and appends one entry a partition: the records ingest appends.

Run as a process of its own: `python -m bench.bare REDIS_URL batch|partitioned`; the first line of output is the port.
"""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum

import grpc
import redis.asyncio
import uvloop
from beckon.ingest.v1 import event_pb2, ingest_service_pb2_grpc
from beckon.ingest.v1 import ingest_service_pb2 as pb

# As the mesh has by default.
PARTITIONS = 16

# Events that a stream may have under way; the appends of a stream overlap, as ingest's do, so that waiting for the disk hides
# nothing of what the two cost.
CREDIT = 10_000
_APPENDS_MAX = 8

Request = pb.IngestEventsRequest | pb.StreamEventsRequest

# (key of the stream, entry)
Entries = Sequence[tuple[str, bytes]]


class Variant(StrEnum):
    """What is appended."""

    BATCH = "batch"
    PARTITIONED = "partitioned"


def whole(request: Request) -> Entries:
    """Return the batch as one entry."""
    return [("bare:0", request.SerializeToString())]


def by_partition(request: Request) -> Entries:
    """Return one entry a partition, each with its events in order."""
    parts: dict[int, list[event_pb2.Event]] = {}
    for event in request.events:
        parts.setdefault(zlib.crc32(event.profile.encode()) % PARTITIONS, []).append(event)
    return [
        (f"bare:{part}", event_pb2.LogRecord(workspace="bench", events=events).SerializeToString())
        for part, events in parts.items()
    ]


class Bare(ingest_service_pb2_grpc.IngestServiceServicer):
    """Appends what it is sent."""

    def __init__(self, client: redis.asyncio.Redis, entries: Callable[[Request], Entries]) -> None:
        """Append with the client; `entries` says what."""
        self._client = client
        self._entries = entries

    async def IngestEvents(
        self, request: pb.IngestEventsRequest, context: object
    ) -> pb.IngestEventsResponse:
        await self._append(self._entries(request))
        return pb.IngestEventsResponse(accepted_count=len(request.events))

    async def StreamEvents(
        self, request_iterator: AsyncIterator[pb.StreamEventsRequest], context: object
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        yield pb.StreamEventsResponse(credit=CREDIT)
        appending: asyncio.Queue[tuple[int, int, asyncio.Task[None]] | None]
        appending = asyncio.Queue(_APPENDS_MAX)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(request_iterator, appending, tasks))
            while (batch := await appending.get()) is not None:
                sequence, count, append = batch
                await append
                yield pb.StreamEventsResponse(sequence=sequence, credit=count, accepted_count=count)

    async def _read(
        self,
        requests: AsyncIterator[pb.StreamEventsRequest],
        appending: asyncio.Queue[tuple[int, int, asyncio.Task[None]] | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        async for request in requests:
            append = tasks.create_task(self._append(self._entries(request)))
            await appending.put((request.sequence, len(request.events), append))
        await appending.put(None)

    async def _append(self, entries: Entries) -> None:
        if len(entries) == 1:
            key, entry = entries[0]
            await self._client.xadd(key, {"b": entry})
            return
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, entry in entries:
                pipeline.xadd(key, {"b": entry})
            await pipeline.execute()


async def _serve(url: str, variant: Variant) -> None:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    entries = whole if variant is Variant.BATCH else by_partition
    ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(Bare(client, entries), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Serve until killed."""
    uvloop.run(_serve(sys.argv[1], Variant(sys.argv[2])))


if __name__ == "__main__":
    main()
