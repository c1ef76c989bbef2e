"""Keeps a stream of batches going: within its credit, and over again where it breaks."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
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

# What gRPC makes of a write that meets a stream just broken; the status it broke with is lost.
_WRITE_FAILED = "Internal error from Core"

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

    async def _stream(self, source: Iterator[Batch[Tag]]) -> None:
        """Run one stream: first what the one before left open, then what is new."""
        again = deque(self._unacknowledged)
        self._unacknowledged.clear()
        credit = _Credit()
        # By an iterator: a `write` to a call that has ended hides the status it ended with.
        call = self.stub.StreamEvents(self._requests(again, source, credit))
        try:
            async for response in call:
                if response.sequence:
                    await self._take(response)
                credit.grant(response.credit)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE or error.details() == _WRITE_FAILED:
                raise Break(error) from error
            raise
        finally:
            credit.end()
            call.cancel()
            self._unacknowledged.extend(again)
        if self._unacknowledged:
            raise Break(await _ended(call))

    async def _requests(
        self, again: deque[Batch[Tag]], source: Iterator[Batch[Tag]], credit: "_Credit"
    ) -> AsyncIterator[pb.StreamEventsRequest]:
        """Yield batches as credit allows, until all are sent or the stream has ended."""
        sequence = 0
        while await credit.given():
            batch = again.popleft() if again else next(source, None)
            if batch is None:
                return
            self._unacknowledged.append(batch)
            if not await credit.spend(len(batch.events)):
                return
            sequence += 1
            yield pb.StreamEventsRequest(parent=self.parent, sequence=sequence, events=batch.events)

    async def _take(self, response: pb.StreamEventsResponse) -> None:
        """Hand out the acknowledgement of the oldest batch."""
        batch = self._unacknowledged.popleft()
        self.totals.accepted += response.accepted_count
        self.totals.duplicates += response.duplicate_count
        self.totals.refused += len(response.failed_events)
        await self.acknowledged(batch, response)


class _Credit:
    """How many events a stream may send."""

    def __init__(self) -> None:
        self._left = 0
        self._ended = False
        self._changed = asyncio.Event()

    def grant(self, events: int) -> None:
        """Allow so many more."""
        self._left += events
        self._changed.set()

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._ended = True
        self._changed.set()

    async def given(self) -> bool:
        """Wait for the first grant; say whether the stream still runs."""
        return await self.spend(0, least=1)

    async def spend(self, events: int, *, least: int = 0) -> bool:
        """Wait until there is credit, and take it; say whether the stream still runs."""
        while self._left < max(events, least) and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        self._left -= 0 if self._ended else events
        return not self._ended


_Call = grpc.aio.StreamStreamCall[pb.StreamEventsRequest, pb.StreamEventsResponse]


async def _ended(call: _Call) -> grpc.aio.AioRpcError:
    """Return what a stream ended with that ended before its time."""
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details() or "the stream ended early",
    )
