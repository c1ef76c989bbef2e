"""The generator for the mesh and for the bare server: gRPC with batches that are serialised already."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import msgspec
from beckon.ingest.v1 import event_pb2 as events_pb
from beckon.ingest.v1 import ingest_service_pb2 as pb

from bench.load.events import WORKSPACE, Planned
from bench.load.plan import Plan
from bench.load.spec import Kind, Load

_SERVICE = "/beckon.ingest.v1.IngestService"

# A batch of 1,000 events is about 300 KB; answers with a status per event may be as large.
_OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.use_local_subchannel_pool", 1)]

# Tag of `StreamEventsRequest.sequence`, varint. Appended behind the serialised batch: fields may come in any order.
_SEQUENCE = b"\x10"


def serialize(events: Sequence[Planned]) -> bytes:
    """Serialise a batch as an IngestEventsRequest; the stream's request differs in field numbers, see `stream`."""
    request = pb.IngestEventsRequest(parent=f"workspaces/{WORKSPACE}", events=map(_event, events))
    return request.SerializeToString()


def serialize_stream(events: Sequence[Planned]) -> bytes:
    """Serialise a batch as a StreamEventsRequest without its sequence."""
    request = pb.StreamEventsRequest(parent=f"workspaces/{WORKSPACE}", events=map(_event, events))
    return request.SerializeToString()


async def run(load: Load, plan: Plan) -> None:
    """Send the load over its lanes, each a connection of its own."""
    lane = _stream if load.kind is Kind.STREAM else _unary
    await asyncio.gather(*(lane(load, plan) for _ in range(load.lanes)))


async def _unary(load: Load, plan: Plan) -> None:
    async with grpc.aio.insecure_channel(load.target, options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.IngestEventsResponse] = (
            channel.unary_unary(
                f"{_SERVICE}/IngestEvents",
                request_serializer=None,
                response_deserializer=pb.IngestEventsResponse.FromString,
            )
        )
        while (taken := await plan.take()) is not None:
            number, batch = taken
            answer = await call(batch, metadata=_metadata(load), timeout=60)
            plan.answered(number, accepted=answer.accepted_count)


async def _stream(load: Load, plan: Plan) -> None:
    async with grpc.aio.insecure_channel(load.target, options=_OPTIONS) as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, pb.StreamEventsResponse] = (
            channel.stream_stream(
                f"{_SERVICE}/StreamEvents",
                request_serializer=None,
                response_deserializer=pb.StreamEventsResponse.FromString,
            )
        )
        lane = _Lane(load, plan)
        async for answer in call(lane.requests(), metadata=_metadata(load)):
            lane.take_answer(answer)


class _Lane:
    """One stream: what is under way, and the credit for more."""

    def __init__(self, load: Load, plan: Plan) -> None:
        self._load = load
        self._plan = plan
        self._numbers: dict[int, int] = {}
        self._credit = 0
        self._changed = asyncio.Event()

    async def requests(self) -> AsyncIterator[bytes]:
        """Yield batches while there is credit and room in the window."""
        sequence = 0
        while True:
            await self._until_allowed()
            taken = await self._plan.take()
            if taken is None:
                break
            sequence += 1
            self._numbers[sequence], batch = taken
            self._credit -= self._load.shape.batch_size
            yield batch + _SEQUENCE + _varint(sequence)

    def take_answer(self, answer: pb.StreamEventsResponse) -> None:
        """Note an acknowledgement and its credit."""
        self._credit += answer.credit
        if answer.sequence:
            self._plan.answered(self._numbers.pop(answer.sequence), accepted=answer.accepted_count)
        self._changed.set()

    async def _until_allowed(self) -> None:
        while self._credit < self._load.shape.batch_size or len(self._numbers) >= self._load.window:
            self._changed.clear()
            await self._changed.wait()


def _event(event: Planned) -> events_pb.Event:
    made = events_pb.Event(
        event_id=event.id,
        type=event.type,
        profile=f"workspaces/{WORKSPACE}/profiles/{event.profile}",
        properties_json=msgspec.json.encode(event.properties),
    )
    made.occur_time.FromDatetime(event.time)
    return made


def _metadata(load: Load) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {load.key}")] if load.key else []


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
