"""Makes sure that a stream keeps to its credit and survives its server, against one that misbehaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
import pytest
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc
from beckon.ingest.v1.event_pb2 import Event

from cli.streaming.stream import Batch, Sender
from mesh.client import connect

PARENT = "workspaces/main"


@dataclass
class Door(rpc.IngestServiceServicer):
    """Takes batches, with little credit, and breaks streams as planned."""

    credit: int = 4
    breaks_after: list[int] = field(default_factory=list)
    """How many batches each stream takes before it breaks; those after it take all."""
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    received: list[str] = field(default_factory=list)
    overdrawn: bool = False

    async def IngestEvents(
        self, request: pb.IngestEventsRequest, context: object
    ) -> pb.IngestEventsResponse:
        raise AssertionError(request)

    async def StreamEvents(
        self,
        request_iterator: AsyncIterator[pb.StreamEventsRequest],
        context: grpc.aio.ServicerContext[pb.StreamEventsRequest, pb.StreamEventsResponse],
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        left = self.breaks_after.pop(0) if self.breaks_after else -1
        credit = self.credit
        yield pb.StreamEventsResponse(credit=credit)
        async for request in request_iterator:
            if left == 0:
                await context.abort(self.code, "gone")
            left -= 1
            credit -= len(request.events)
            self.overdrawn |= credit < 0
            self.received += [event.event_id for event in request.events]
            credit += len(request.events)
            yield pb.StreamEventsResponse(
                sequence=request.sequence,
                credit=len(request.events),
                accepted_count=len(request.events),
            )


@asynccontextmanager
async def sender(door: Door) -> AsyncIterator[tuple[Sender[int], list[int]]]:
    """Yield a sender to the door, and the tags of what was acknowledged."""
    acknowledged: list[int] = []

    async def take(batch: Batch[int], response: pb.StreamEventsResponse) -> None:
        assert response.accepted_count == len(batch.events)
        acknowledged.append(batch.tag)

    server = grpc.aio.server()
    rpc.add_IngestServiceServicer_to_server(door, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}", key="k", service="ingest") as channel:
            yield Sender(rpc.IngestServiceStub(channel), PARENT, take), acknowledged
    finally:
        await server.stop(None)


def batches(count: int, size: int = 2) -> list[Batch[int]]:
    return [
        Batch([Event(event_id=f"e-{number}-{one}") for one in range(size)], number)
        for number in range(count)
    ]


async def test_everything_is_acknowledged_in_order_and_within_the_credit() -> None:
    door = Door()
    async with sender(door) as (stream, acknowledged):
        await stream.send(batches(20))

    assert acknowledged == list(range(20))
    assert not door.overdrawn
    assert stream.totals.accepted == 40


@pytest.mark.parametrize("breaks_after", [[0], [3], [0, 0, 1], [19]])
async def test_a_broken_stream_goes_on_and_each_batch_is_handed_out_once(
    breaks_after: list[int],
) -> None:
    door = Door(breaks_after=list(breaks_after))
    async with sender(door) as (stream, acknowledged):
        await stream.send(batches(20))

    assert acknowledged == list(range(20))
    assert set(door.received) == {f"e-{number}-{one}" for number in range(20) for one in range(2)}
    assert stream.totals.reconnects == len(breaks_after)


async def test_a_refusal_ends_the_sending() -> None:
    door = Door(breaks_after=[3], code=grpc.StatusCode.PERMISSION_DENIED)
    async with sender(door) as (stream, acknowledged):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.send(batches(20))

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert acknowledged == list(range(3))[: len(acknowledged)]


async def test_nothing_to_send_is_no_trouble() -> None:
    async with sender(Door()) as (stream, acknowledged):
        await stream.send([])

    assert acknowledged == []
