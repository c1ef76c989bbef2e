"""Makes sure that every event log keeps the port's promises; a new one joins `LOGS`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from mesh import redis
from mesh.clock import SystemClock
from mesh.errors import Unavailable
from mesh.eventlog import START, EventLog, Record
from mesh.eventlog.redis_streams import LogNotDurable, RedisStreams
from stack.servers import Redis

PARTITIONS = 4
SOON = timedelta(milliseconds=50)


async def redis_streams(url: str) -> AsyncIterator[EventLog]:
    async with RedisStreams.connect(
        url, partitions=PARTITIONS, prefix=uuid4().hex, allow_lossy=True
    ) as log:
        yield log


LOGS = {"redis_streams": redis_streams}


@pytest.fixture(params=LOGS)
async def log(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[EventLog]:
    async for opened in LOGS[request.param](redis_url):
        yield opened


def everywhere() -> dict[int, str]:
    return dict.fromkeys(range(PARTITIONS), START)


async def read_all(log: EventLog, *, max_records: int = 1000) -> dict[int, list[bytes]]:
    after = everywhere()
    found: dict[int, list[bytes]] = {partition: [] for partition in after}
    while records := await log.read(after, max_records=max_records, wait=SOON):
        for record in records:
            found[record.partition].append(record.payload)
            after[record.partition] = record.position
    return found


async def test_records_come_back_in_order_per_partition(log: EventLog) -> None:
    await log.append([(0, b"a"), (1, b"x"), (0, b"b")])
    await log.append([(0, b"c")])

    found = await read_all(log)

    assert found == {0: [b"a", b"b", b"c"], 1: [b"x"], 2: [], 3: []}


async def test_positions_rise_within_a_partition(log: EventLog) -> None:
    await log.append([(2, bytes([number])) for number in range(20)])

    records = await log.read({2: START}, max_records=100, wait=SOON)

    positions = [record.position for record in records]
    assert all(log.before(a, b) for a, b in pairwise(positions))
    assert log.before(START, positions[0])
    assert not log.before(positions[0], positions[0])


async def test_reading_on_from_a_position_skips_what_stands_before_it(log: EventLog) -> None:
    await log.append([(0, b"a"), (0, b"b"), (0, b"c")])
    first, *_ = await log.read({0: START}, max_records=10, wait=SOON)

    rest = await log.read({0: first.position}, max_records=10, wait=SOON)

    assert [record.payload for record in rest] == [b"b", b"c"]


async def test_a_full_partition_does_not_hide_another(log: EventLog) -> None:
    await log.append([(0, b"many")] * 500)
    await log.append([(3, b"one")])

    records = await log.read(everywhere(), max_records=40, wait=SOON)

    assert (3, b"one") in [(record.partition, record.payload) for record in records]
    assert len(records) <= 40


async def test_nothing_is_lost_between_many_concurrent_appends(log: EventLog) -> None:
    await asyncio.gather(
        *(log.append([(n % PARTITIONS, b"%d" % n), (0, b"%d" % (n + 1000))]) for n in range(200))
    )

    found = await read_all(log, max_records=64)

    everything = sorted(int(payload) for payloads in found.values() for payload in payloads)
    assert everything == [*range(200), *range(1000, 1200)]


async def test_appends_under_way_together_keep_the_order_of_their_calls(log: EventLog) -> None:
    await asyncio.gather(*(log.append([(0, b"%d" % number)]) for number in range(300)))

    found = await read_all(log)

    assert [int(payload) for payload in found[0]] == list(range(300))


async def test_an_append_that_nobody_waits_for_disturbs_no_other(log: EventLog) -> None:
    given_up = asyncio.ensure_future(log.append([(0, b"given up")] * 50))  # noqa: TID251
    waited_for = [asyncio.ensure_future(log.append([(1, b"kept")])) for _ in range(20)]  # noqa: TID251
    given_up.cancel()
    await asyncio.gather(given_up, *waited_for, return_exceptions=True)

    await log.append([(1, b"last")])

    failed = sum(task.exception() is not None for task in waited_for)
    found = await read_all(log)
    assert found[1][-1] == b"last"
    assert len(found[1]) >= 21 - failed


async def test_a_reader_that_waits_is_woken_by_an_append(log: EventLog) -> None:
    async def append_later() -> None:
        await waiting.wait()
        await log.append([(1, b"now")])

    async def read_now() -> list[Record]:
        waiting.set()
        return await log.read(everywhere(), max_records=10, wait=timedelta(seconds=4))

    waiting = asyncio.Event()
    records, _ = await asyncio.gather(read_now(), append_later())

    assert [record.payload for record in records] == [b"now"]


async def test_a_reader_that_finds_nothing_returns_after_its_wait(log: EventLog) -> None:
    assert await log.read(everywhere(), max_records=10, wait=SOON) == []


async def test_what_is_trimmed_is_not_missed_by_a_reader_beyond_it(log: EventLog) -> None:
    await log.append([(0, b"%d" % number) for number in range(1000)])
    records = await log.read({0: START}, max_records=1000, wait=SOON)

    await log.trim(0, records[899].position)

    rest = await log.read({0: records[899].position}, max_records=1000, wait=SOON)
    assert [record.payload for record in rest] == [b"%d" % number for number in range(900, 1000)]
    kept = await log.read({0: START}, max_records=1000, wait=SOON)
    assert len(kept) < 1000


async def test_the_oldest_unread_record_tells_how_far_behind_a_reader_is(log: EventLog) -> None:
    await log.append([(0, b"a"), (1, b"b")])
    (read,) = await log.read({1: START}, max_records=1, wait=SOON)

    unread = await log.oldest_unread({0: START, 1: read.position, 2: START})

    assert set(unread) == {0}
    assert abs(unread[0] - SystemClock().now()) < timedelta(minutes=1)


async def test_a_record_of_a_megabyte_of_any_bytes_survives(log: EventLog) -> None:
    payload = bytes(range(256)) * 4096
    await log.append([(0, payload)])

    (record,) = await log.read({0: START}, max_records=1, wait=SOON)

    assert record.payload == payload


async def test_what_was_appended_survives_a_killed_server(redis_server: Redis) -> None:
    async with RedisStreams.connect(redis_server.url, partitions=1, prefix="killed") as log:
        for number in range(20):
            await log.append([(0, b"%d" % number)])
        redis_server.kill()
        with pytest.raises(Unavailable):
            await log.append([(0, b"lost")])
        await redis_server.start()

        records = await log.read({0: START}, max_records=100, wait=SOON)

    assert [int(record.payload) for record in records] == list(range(20))


async def test_a_server_that_can_lose_what_it_acknowledged_is_refused(redis_server: Redis) -> None:
    async with redis.connect(redis_server.url) as client:
        await client.config_set("appendfsync", "everysec")

    with pytest.raises(LogNotDurable, match="appendfsync always"):
        async with RedisStreams.connect(redis_server.url, partitions=1):
            pass
