"""Keeps a stream of batches going: within its credit, and over again where it breaks."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc.aio
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1.event_pb2 import Event

if TYPE_CHECKING:
    # Exists for the type checker only.
    from beckon.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

# A server that restarts is back within seconds; one that is gone should be told about.
_ATTEMPTS = 8
_FIRST_WAIT = 0.2

Tag = TypeVar("Tag")


@dataclass(slots=True)
class Batch(Generic[Tag]):
    """Events that are sent together, and what the caller wants back with their acknowledgement."""

    events: list[Event]
    tag: Tag


@dataclass(slots=True)
class Totals:
    """What the service said so far."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    reconnects: int = 0


class Break(Exception):
    """The stream broke in a way that another try may mend."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        """Carry what gRPC said."""
        super().__init__(str(error))
        self.error = error


Acknowledged = Callable[[Batch[Tag], pb.StreamEventsResponse], Awaitable[None]]


@dataclass(slots=True)
class Sender(Generic[Tag]):
    """Sends batches in order and hands out each acknowledgement, in order, once."""

    stub: "IngestServiceAsyncStub"
    parent: str
    acknowledged: Acknowledged[Tag]
    totals: Totals = field(default_factory=Totals)
    _unacknowledged: deque[Batch[Tag]] = field(default_factory=deque)

    async def send(self, batches: Iterable[Batch[Tag]]) -> None:
        """Send everything; return when all of it is acknowledged.

        Raises:
            AioRpcError: The service refused the stream, or stayed away.
        """
        source = iter(batches)
        attempt = 0
        while True:
            before = self.totals.accepted + self.totals.refused
            try:
                await self._stream(source)
            except Break as broken:
                progressed = self.totals.accepted + self.totals.refused > before
                attempt = 1 if progressed else attempt + 1
                if attempt >= _ATTEMPTS:
                    raise broken.error from broken
                self.totals.reconnects += 1
                await asyncio.sleep(_FIRST_WAIT * 2 ** (attempt - 1))
            else:
                return

    async def _stream(self, source: Iterable[Batch[Tag]]) -> None:
        """Run one stream: first what the one before left open, then what is new."""
        again = list(self._unacknowledged)
        self._unacknowledged.clear()
        rest = deque(again)
        try:
            call = self.stub.StreamEvents()
            granted = await _read(call)
            credit = granted.credit
            for sequence, batch in enumerate(_chain(rest, source), start=1):
                self._unacknowledged.append(batch)
                size = len(batch.events)
                while credit < size:
                    credit += await self._take(call)
                await call.write(
                    pb.StreamEventsRequest(
                        parent=self.parent, sequence=sequence, events=batch.events
                    )
                )
                credit -= size
            await call.done_writing()
            while self._unacknowledged:
                await self._take(call)
        except grpc.aio.AioRpcError as error:
            self._unacknowledged.extend(rest)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise Break(error) from error
            raise
        except asyncio.InvalidStateError as error:
            # The call ended while we wrote; its status says why.
            self._unacknowledged.extend(rest)
            raise Break(await _ended(call)) from error

    async def _take(self, call: "_Call") -> int:
        """Wait for one acknowledgement; return the credit it grants."""
        response = await _read(call)
        batch = self._unacknowledged.popleft()
        self.totals.accepted += response.accepted_count
        self.totals.duplicates += response.duplicate_count
        self.totals.refused += len(response.failed_events)
        await self.acknowledged(batch, response)
        return response.credit


_Call = grpc.aio.StreamStreamCall[pb.StreamEventsRequest, pb.StreamEventsResponse]


async def _read(call: _Call) -> pb.StreamEventsResponse:
    response = await call.read()
    if isinstance(response, pb.StreamEventsResponse):
        return response
    raise Break(await _ended(call))


async def _ended(call: _Call) -> grpc.aio.AioRpcError:
    error = grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details() or "the stream ended early",
    )
    if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}:
        raise error
    return error


def _chain(first: deque[Batch[Tag]], then: Iterable[Batch[Tag]]) -> Iterable[Batch[Tag]]:
    while first:
        yield first.popleft()
    yield from then
