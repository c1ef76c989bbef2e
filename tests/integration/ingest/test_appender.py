"""Makes sure that nothing gets into the log behind what did not."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from mesh.errors import Unavailable, unavailable
from mesh.eventlog.redis_streams import RedisStreams
from mesh.server import Stopping
from services.ingest.store import Appender
from services.ingest.store.appender import Records


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
async def log(redis_url: str) -> AsyncIterator[Faulty]:
    async with Faulty.connect(redis_url, partitions=1, allow_lossy=True) as opened:
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
