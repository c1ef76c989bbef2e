"""Makes sure that nothing gets into the log behind what did not."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1.event_pb2 import Event
from redis.exceptions import ResponseError

from mesh.clock import SystemClock
from mesh.errors import ResourceExhausted, Unavailable, unavailable
from mesh.eventlog.redis_streams import RedisStreams
from mesh.server import Stopping
from services.ingest.servicer import IngestServicer
from services.ingest.servicer.door import Door
from services.ingest.store import Appender, RecentIds
from services.ingest.store.appender import Records
from tests.effort import EFFORT

# What happens around a call is not asked about here.
NO_CALL: Any = None


class Faulty(RedisStreams):
    """A log on the real Redis whose appends fail as planned, once `gate` lets them."""

    failures: list[bool]
    gate: asyncio.Event
    begun: asyncio.Event

    async def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.failures and self.failures.pop(0):
            raise unavailable("redis")
        await super().append(records)


@pytest.fixture
async def log(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Faulty]:
    own = f"log:{request.node.name}"
    async with Faulty.connect(redis_url, partitions=1, allow_lossy=True, prefix=own) as opened:
        assert isinstance(opened, Faulty)
        opened.failures = []
        opened.gate, opened.begun = asyncio.Event(), asyncio.Event()
        yield opened


def a_record(name: bytes) -> Records:
    return [(0, name)]


async def test_what_was_handed_over_behind_a_failed_append_fails_too(log: Faulty) -> None:
    log.failures = [True]
    appender, stopping = Appender(log), Stopping()
    async with asyncio.TaskGroup() as group:
        group.create_task(appender.run(stopping))
        first = appender.append(a_record(b"first"))
        await log.begun.wait()
        second = appender.append(a_record(b"second"), after=first)
        log.gate.set()
        with pytest.raises(Unavailable):
            await first
        third = appender.append(a_record(b"third"), after=second)
        outcomes = await asyncio.gather(second, third, return_exceptions=True)
        stopping.set()

    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert await log.oldest_unread({0: ""}) == {}


async def test_who_follows_nobody_gets_in_after_a_failure(log: Faulty) -> None:
    log.failures = [True]
    log.gate.set()
    appender, stopping = Appender(log), Stopping()
    async with asyncio.TaskGroup() as group:
        group.create_task(appender.run(stopping))
        with pytest.raises(Unavailable):
            await appender.append(a_record(b"first"))
        await appender.append(a_record(b"second"))
        stopping.set()

    assert await log.oldest_unread({0: ""}) != {}


def a_batch(number: int) -> pb.IngestEventsRequest:
    event = Event(event_id=f"e{number}", type="seen", profile="workspaces/acme/profiles/ana")
    return pb.IngestEventsRequest(parent="workspaces/acme", events=[event])


async def test_a_call_is_told_to_wait_while_too_much_waits_for_the_log(log: Faulty) -> None:
    appender, stopping = Appender(log, held_bytes_max=1), Stopping()
    door = Door(appender, RecentIds(0), SystemClock(), partitions=1)
    servicer = IngestServicer(door, stream_credit=1000)
    async with asyncio.TaskGroup() as group:
        group.create_task(appender.run(stopping))
        first = group.create_task(servicer.IngestEvents(a_batch(1), NO_CALL))
        await log.begun.wait()
        with pytest.raises(ResourceExhausted) as refused:
            await servicer.IngestEvents(a_batch(2), NO_CALL)
        log.gate.set()
        await first
        answer = await servicer.IngestEvents(a_batch(2), NO_CALL)
        stopping.set()

    assert refused.value.retry_delay
    assert answer.accepted_count == 1


async def test_a_stream_is_not_read_while_too_much_waits_for_the_log(log: Faulty) -> None:
    appender, stopping = Appender(log, held_bytes_max=1), Stopping()
    door = Door(appender, RecentIds(0), SystemClock(), partitions=1)
    servicer = IngestServicer(door, stream_credit=1000)
    read: list[int] = []

    async def requests() -> AsyncIterator[pb.StreamEventsRequest]:
        for number in (1, 2):
            read.append(number)
            yield pb.StreamEventsRequest(
                parent="workspaces/acme", sequence=number, events=a_batch(number).events
            )

    async def stream() -> list[int]:
        return [answer.sequence async for answer in servicer.StreamEvents(requests(), NO_CALL)]

    async with asyncio.TaskGroup() as group:
        group.create_task(appender.run(stopping))
        streaming = group.create_task(stream())
        await log.begun.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        read_before = list(read)
        log.gate.set()
        sequences = await streaming
        stopping.set()

    assert read_before == [1]
    assert sequences == [0, 1, 2]


async def test_nothing_overtakes_what_a_broken_connection_took_with_it(log: Faulty) -> None:
    """As a stream's caller does: what was not acknowledged comes again, from there on."""
    log.gate.set()
    appender, stopping = Appender(log), Stopping()
    acknowledged = breaks = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(appender.run(stopping))
        killer = group.create_task(_break_now_and_then(log))
        while breaks < 150 * EFFORT:
            stream = _Stream(appender, acknowledged)
            acknowledged = await stream.acknowledged()
            breaks += 1
        killer.cancel()
        stopping.set()

    first_seen = list(dict.fromkeys([number async for number in _numbers(log)]))
    assert first_seen[:acknowledged] == list(range(acknowledged))
    assert first_seen == sorted(first_seen)


class _Stream:
    """Hands over numbers, each behind the one before, until one fails."""

    def __init__(self, appender: Appender, start: int) -> None:
        self._appender = appender
        self._next = start
        self._acknowledged = start

    async def acknowledged(self) -> int:
        """Return the first number that was not acknowledged."""
        handed: deque[asyncio.Future[None]] = deque()
        while True:
            self._feed(handed)
            await asyncio.sleep(0)
            while handed and handed[0].done():
                if handed.popleft().exception() is not None:
                    return self._acknowledged
                self._acknowledged += 1

    def _feed(self, handed: "deque[asyncio.Future[None]]") -> None:
        if len(handed) < 100:
            before = handed[-1] if handed else None
            handed.append(self._appender.append(a_record(b"%d" % self._next), after=before))
            self._next += 1


async def _break_now_and_then(log: Faulty) -> None:
    chance = random.Random(7)
    while True:
        await asyncio.sleep(chance.uniform(0.01, 0.03))
        for client in await log._client.client_list():
            if client["name"] == "beckon-log" and client["cmd"] == "xadd":
                with suppress(ResponseError):
                    await log._client.client_kill_filter(_id=client["id"])


async def _numbers(log: Faulty) -> AsyncIterator[int]:
    position = ""
    while records := await log.read({0: position}, max_records=1000, wait=timedelta(0)):
        for record in records:
            yield int(record.payload)
        position = records[-1].position
