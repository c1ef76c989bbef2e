"""Tries to lose what is gathered, or to tell it twice: storms, two workers, and death between any two steps."""

import asyncio
import random

import pytest
from beckon.ingest.v1.event_pb2 import Event

from mesh.errors import MeshError
from services.trigger.worker import Worker
from tests.integration.trigger.digests import a_like, all_told, an_unlike, ids, likes
from tests.integration.trigger.house import House, Interrupted
from tests.integration.trigger.test_crashes import records_of

_PEOPLE = 12
_ROUNDS = 30
_LIKES = 70


async def flush(house: House, worker: Worker) -> None:
    """Fire what is due and relay it, as one worker does."""
    while await worker.timers.run_once():
        pass
    await worker.relay.drain(house.stopping)


async def test_in_a_storm_every_event_is_in_exactly_one_message(house: House) -> None:
    await house.launch(likes(fixed=60))
    two = house.another_worker("two")
    await two.partitions.run_once()
    await house.worker.partitions.run_once()
    await two.partitions.run_once()
    draw = random.Random(7)
    sent: list[str] = []
    for number in range(_ROUNDS):
        events = [
            a_like(
                f"fan{draw.randrange(200)}",
                f"p{draw.randrange(5)}",
                owner=f"owner{draw.randrange(_PEOPLE)}",
                id=f"s{number}-{one}",
            )
            for one in range(_LIKES)
        ]
        sent += [one.event_id for one in events]
        await house.append(*events)
        house.clock.advance(seconds=13)
        # Flushes and additions of the same windows, at once and by both.
        await asyncio.gather(
            house.judge(house.worker),
            house.judge(two),
            flush(house, house.worker),
            flush(house, two),
        )
    for worker in (house.worker, two):
        await house.judge(worker)
    house.clock.advance(seconds=60)
    for worker in (house.worker, two, house.worker):
        await flush(house, worker)

    assert await _told(house) == sorted(sent)
    assert len({bytes(one.delivery_id) for one in house.out}) == len(house.out)


async def test_an_addition_that_a_flush_overtakes_opens_the_next_window(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.append(a_like("eve", id="b"))
    records, positions = await records_of(house)
    turns = house.worker.turns

    async def be_flushed() -> None:
        # By a worker that does not know of what is unread.
        due = await house.worker.timers._store.due(
            dict.fromkeys(range(4), house.clock.now()), limit=10
        )
        await house.worker.timers._fire(due)

    turns._store = Interrupted(house, be_flushed)
    await turns.run(records, positions)
    await house.worker.relay.drain(house.stopping)
    once = [ids(one) for one in house.out]
    house.clock.advance(minutes=10)
    await house.work()

    assert once == [["a"]]
    assert [ids(one) for one in house.out] == [["a"], ["b"]]


async def test_a_flush_that_an_addition_overtakes_tells_it_too(house: House) -> None:
    await house.launch(likes(sliding=(600, 3600)))
    await house.append(a_like("bob", id="a"))
    await house.work()
    house.clock.advance(minutes=10)
    timers = house.worker.timers
    due = await timers._store.due(dict.fromkeys(range(4), house.clock.now()), limit=10)
    await house.append(a_like("eve", id="b"))
    await house.judge()

    await timers._fire(due)
    await house.worker.relay.drain(house.stopping)
    early = list(house.out)
    house.clock.advance(minutes=10)
    await house.work()

    assert early == []
    assert [ids(one) for one in house.out] == [["b", "a"]]


@pytest.mark.parametrize("method", ["ReserveSends", "BatchCreateDeliveries"])
@pytest.mark.parametrize("fault", ["refuse", "lose_reply"])
async def test_a_digest_whose_worker_dies_while_it_goes_out_is_told_once_and_whole(
    house: House, method: str, fault: str
) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"), a_like("eve", id="b"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.worker.timers.run_once()
    getattr(house.memory.faults, fault)(method, times=1000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await house.worker.relay.drain(house.stopping)
    house.memory.faults.clear()
    await house.append(a_like("joe", id="c"))

    successor = await house.succeed()
    await house.judge(successor)
    await successor.relay.claim()
    await house.work(successor)
    house.clock.advance(minutes=10)
    await house.work(successor)

    assert [sorted(ids(one)) for one in house.out] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("table", ["enrollments", "digest_items", "digest_undos", "log_positions"])
async def test_a_turn_that_dies_at_any_write_gathers_everything_once(
    house: House, table: str
) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()
    events: list[Event] = [a_like("eve", id="b"), an_unlike("bob"), a_like("joe", id="c")]
    await house.append(*events)
    async with house.database.connection() as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'died' USING ERRCODE = '57P01'; END $$"
        )
        await connection.execute(
            f"CREATE TRIGGER die AFTER INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION die()"
        )
    try:
        records, positions = await records_of(house)
        with pytest.raises(MeshError):
            await house.worker.turns.run(records, positions)
    finally:
        async with house.database.connection() as connection:
            await connection.execute(f"DROP TRIGGER die ON {table}")

    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert await all_told(house) == ["b", "c"]
    assert len(house.out) == 1


async def test_windows_that_two_turns_open_at_once_are_one(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))

    async def meanwhile() -> None:
        two = house.another_worker("two")
        await house.append(a_like("fan1", id="b"), a_like("fan2", id="c"), a_like("fan3", id="d"))
        await two.partitions.run_once()
        records, positions = await records_of(house)
        others = [one for one in records if b"bob" not in one[0].payload]
        await two.turns.run(
            others, {one[0].partition: positions[one[0].partition] for one in others}
        )

    records, positions = await records_of(house)
    house.worker.turns._store = Interrupted(house, meanwhile)
    await house.worker.turns.run(records, positions)
    successor = await house.succeed()
    await house.work(successor)
    house.clock.advance(minutes=10)
    await house.work(successor)

    assert await all_told(house) == ["a", "b", "c", "d"]
    assert len(house.out) == 1


async def _told(house: House) -> list[str]:
    """Return what was told by the record of the windows that went out: templates see the latest."""
    async with house.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT i.event_id FROM digest_items AS i JOIN enrollments AS e"
            " ON e.workspace = i.workspace AND e.profile = i.profile"
            " AND e.campaign = i.campaign AND e.event_uid = i.window_uid WHERE e.state = 4"
        )
    told = sorted(row["event_id"] for row in rows)
    from_messages = await all_told(house)
    assert set(from_messages) <= set(told)
    assert len(from_messages) == len(set(from_messages))
    return told
