"""Streams events as a good client does: what was not acknowledged goes out again, with its ids."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc.aio
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc
from beckon.ingest.v1.event_pb2 import Event

# Nothing is frozen so long: a stream that says nothing has lost somebody's answer.
_SILENCE_MAX = 20.0

_PAUSE = 0.1


class Broken(Exception):
    """The stream cannot go on; what was not acknowledged is to be sent over another."""


@dataclass(slots=True)
class Lane:
    """One caller's stream, begun anew as often as it breaks. Keeps the order of its batches."""

    channel: grpc.aio.Channel
    workspace: str
    acknowledged: Callable[[Sequence[Event]], None]
    """Told of every batch that is durable."""
    refused: list[str] = field(default_factory=list)
    """Events that were not accepted: none should be."""
    streams: int = 0
    """How many were begun."""
    resent: int = 0
    """Events sent more than once."""
    _waiting: deque[tuple[Event, ...]] = field(default_factory=deque)
    _sent: deque[tuple[int, tuple[Event, ...]]] = field(default_factory=deque)
    _credit: int = 0
    _closed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, events: Sequence[Event]) -> None:
        """Take a batch; it is acknowledged some time."""
        self._waiting.append(tuple(events))
        self._changed.set()

    def close(self) -> None:
        """Let `run` return once everything is acknowledged."""
        self._closed = True
        self._changed.set()

    @property
    def backlog(self) -> int:
        """Batches that are not acknowledged."""
        return len(self._waiting) + len(self._sent)

    async def run(self) -> None:
        """Stream until closed and all is acknowledged."""
        while not (self._closed and not self.backlog):
            try:
                await self._stream()
            except* (grpc.aio.AioRpcError, Broken):
                self._take_back()
                await asyncio.sleep(_PAUSE)

    async def _stream(self) -> None:
        stub: rpc.IngestServiceAsyncStub = rpc.IngestServiceStub(self.channel)
        call = stub.StreamEvents()
        self.streams += 1
        self._credit = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(call))
                group.create_task(self._read(call))
        finally:
            call.cancel()

    async def _write(
        self, call: "grpc.aio.StreamStreamCall[pb.StreamEventsRequest, pb.StreamEventsResponse]"
    ) -> None:
        sequence = 0
        while True:
            while not self._waiting or self._credit < len(self._waiting[0]):
                if self._closed and not self.backlog:
                    await call.done_writing()
                    return
                self._changed.clear()
                await self._changed.wait()
            batch = self._waiting.popleft()
            sequence += 1
            self._credit -= len(batch)
            self._sent.append((sequence, batch))
            request = pb.StreamEventsRequest(
                parent=f"workspaces/{self.workspace}", sequence=sequence, events=batch
            )
            try:
                await call.write(request)
            except asyncio.InvalidStateError as error:
                raise Broken from error

    async def _read(
        self, call: "grpc.aio.StreamStreamCall[pb.StreamEventsRequest, pb.StreamEventsResponse]"
    ) -> None:
        while True:
            answer = None
            with suppress(TimeoutError):
                answer = await asyncio.wait_for(call.read(), _SILENCE_MAX)
            if not isinstance(answer, pb.StreamEventsResponse):
                if self._closed and not self.backlog:
                    return
                raise Broken
            self._credit += answer.credit
            if answer.sequence:
                self._settle(answer)
            self._changed.set()

    def _settle(self, answer: pb.StreamEventsResponse) -> None:
        sequence, batch = self._sent.popleft()
        assert sequence == answer.sequence, "acknowledged out of order"
        failed = answer.failed_events
        self.refused += [f"{batch[index].event_id}: {failed[index].message}" for index in failed]
        self.acknowledged([one for index, one in enumerate(batch) if index not in failed])

    def _take_back(self) -> None:
        """Put what was sent and not acknowledged before what was not sent."""
        self.resent += sum(len(batch) for _, batch in self._sent)
        self._waiting.extendleft(batch for _, batch in reversed(self._sent))
        self._sent.clear()
