"""IngestService: a batch in a call, or batches in a stream with credit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc

from mesh.errors import ResourceExhausted, invalid_field
from mesh.interceptors.middleware import Context
from services.ingest.servicer.door import Door, Entry

# What a caller that overdrew its credit should wait for; acknowledgements come sooner.
_BREATHER = timedelta(seconds=1)


class IngestServicer(rpc.IngestServiceServicer):
    """Answers when the events are durable."""

    def __init__(self, door: Door, *, stream_credit: int) -> None:
        """Grant each stream `stream_credit` events without an acknowledgement."""
        self._door = door
        self._stream_credit = stream_credit

    async def IngestEvents(
        self,
        request: pb.IngestEventsRequest,
        context: Context,
    ) -> pb.IngestEventsResponse:
        self._door.require_room()
        entry = self._door.enter(request)
        taken = await entry.taken()
        return pb.IngestEventsResponse(
            accepted_count=taken.accepted_count,
            duplicate_count=taken.duplicate_count,
            failed_events=taken.failed_events,
        )

    async def StreamEvents(
        self, request_iterator: AsyncIterator[pb.StreamEventsRequest], context: Context
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        yield pb.StreamEventsResponse(credit=self._stream_credit)
        stream = _Stream(self._door, credit=self._stream_credit)
        # Ends with the call; what it meets comes out of `entered`, in its turn.
        reading = asyncio.ensure_future(stream.read(request_iterator))  # noqa: TID251
        try:
            async for entered in stream.entered():
                yield await stream.acknowledge(entered)
        finally:
            reading.cancel()


@dataclass(frozen=True, slots=True)
class _Entered:
    """One batch of a stream, in the log's hands."""

    sequence: int
    size: int
    entry: Entry


class _Stream:
    """One stream: batches go in as they come, and are acknowledged in order."""

    def __init__(self, door: Door, *, credit: int) -> None:
        self._door = door
        self._credit = credit
        self._sequence = 0
        # Bounded by credit: a batch holds at least one event.
        self._entered: asyncio.Queue[_Entered | Exception | None] = asyncio.Queue()

    async def read(self, requests: AsyncIterator[pb.StreamEventsRequest]) -> None:
        """Enter every batch. What goes wrong is told after the batches before it."""
        entry: Entry | None = None
        try:
            async for request in requests:
                size = len(request.events)
                self._spend(size)
                self._follow(request.sequence)
                entry = self._door.enter(request, after=entry)
                self._entered.put_nowait(_Entered(request.sequence, size, entry))
                # What is not read stays with the caller.
                await self._door.room()
        except Exception as error:  # noqa: BLE001 — whoever answers the caller raises it
            self._entered.put_nowait(error)
        else:
            self._entered.put_nowait(None)

    async def entered(self) -> AsyncIterator[_Entered]:
        """Yield the batches in order; raise what ended the stream, if anything did."""
        while (item := await self._entered.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def acknowledge(self, entered: _Entered) -> pb.StreamEventsResponse:
        """Wait until a batch is durable; give its credit back."""
        taken = await entered.entry.taken()
        self._credit += entered.size
        return pb.StreamEventsResponse(
            sequence=entered.sequence,
            credit=entered.size,
            accepted_count=taken.accepted_count,
            duplicate_count=taken.duplicate_count,
            failed_events=taken.failed_events,
        )

    def _spend(self, size: int) -> None:
        if size > self._credit:
            raise ResourceExhausted(
                ErrorReason.ERROR_REASON_QUOTA_EXCEEDED,
                f"the stream has credit for {self._credit} events, this batch has {size}:"
                " wait for acknowledgements",
                retry_delay=_BREATHER,
            )
        self._credit -= size

    def _follow(self, sequence: int) -> None:
        if sequence <= self._sequence:
            raise invalid_field(
                "sequence", f"must be greater than {self._sequence}", reason="sequence.order"
            )
        self._sequence = sequence
