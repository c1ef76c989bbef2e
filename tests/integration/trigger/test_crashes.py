"""Makes sure that a worker that dies between any two steps costs work, never a message or a second one.

A worker is dropped where it stands (its memory is gone, its leases run out) and another takes over,
on the same real stores; peers fail as planned, before or after they did their work.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.errors import Unavailable
from services.trigger.store import LostPartition
from services.trigger.worker.batch import ReadRecord, read_record
from tests.integration.trigger.house import House, a_campaign, an_event


async def records_of(house: House) -> tuple[list[ReadRecord], dict[int, str]]:
    """Return what is in the log after where it is judged to."""
    positions = house.worker.partitions.positions()
    records = await house.log.read(positions, max_records=100, wait=timedelta(milliseconds=1))
    return [read_record(record) for record in records], positions


async def test_two_workers_on_one_partition_have_the_effects_of_one(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(*(an_event() for _ in range(5)))
    records, positions = await records_of(house)
    other = house.another_worker("two")

    results = await asyncio.gather(
        house.worker.turns.run(records, positions),
        other.turns.run(records, positions),
        return_exceptions=True,
    )

    await house.worker.relay.drain(house.stopping)
    await other.relay.drain(house.stopping)
    assert [type(one) for one in results if one is not None] == [LostPartition]
    assert len(house.out) == 5
    assert len(await house.decided()) == 5


async def test_a_worker_that_was_overtaken_reads_on_from_the_other(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event())
    records, positions = await records_of(house)
    await house.another_worker("two").turns.run(records, positions)
    await house.append(an_event(id="next"))

    await house.work()

    assert (await house.decision("next")).state == Decision.STATE_SENT
    assert len(await house.decided()) == 2


async def test_a_crash_after_observing_repeats_the_turn(house: House) -> None:
    await house.launch(a_campaign())
    house.memory.faults.lose_reply("ObserveEvents", times=10)
    await house.append(an_event(id="e"))
    with pytest.raises(Unavailable):
        await house.judge()
    house.memory.faults.clear()

    await house.work(await house.succeed())

    assert len(house.out) == 1
    assert house.memory.profile.history["workspaces/acme/profiles/ana"] == ["e"]


async def test_a_crash_after_the_commit_leaves_the_send_to_another(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.judge()

    successor = await house.succeed()
    claimed = await successor.relay.claim()
    await house.work(successor)

    assert claimed == 1
    assert len(house.out) == 1
    assert (await house.decision("e")).state == Decision.STATE_SENT


@pytest.mark.parametrize("method", ["ReserveSends", "BatchCreateDeliveries"])
@pytest.mark.parametrize("fault", ["refuse", "lose_reply", "hold"])
async def test_a_crash_in_the_middle_of_relaying_leaves_the_send_to_another(
    house: House, method: str, fault: str
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.judge()
    if fault == "hold":
        house.memory.faults.hold(method)
    else:
        getattr(house.memory.faults, fault)(method, times=1000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await house.worker.relay.drain(house.stopping)
    house.memory.faults.clear()

    successor = await house.succeed()
    await successor.relay.claim()
    await house.work(successor)

    assert len(house.out) == 1
    assert len(house.memory.throttle.reserved) == 1
    assert (await house.decision("e")).state == Decision.STATE_SENT


@pytest.mark.parametrize("method", ["ObserveEvents", "ReserveSends", "BatchCreateDeliveries"])
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_lost_reply_costs_a_retry_but_never_a_second_message(
    house: House, method: str, code: grpc.StatusCode
) -> None:
    await house.launch(a_campaign(reentry=0))
    house.memory.faults.lose_reply(method, code=code)
    await house.append(*(an_event() for _ in range(3)))
    for _ in range(2):
        try:
            await house.work()
        except Unavailable:
            continue

    assert len(house.out) == 3
    assert {one.state for one in await house.decided()} == {Decision.STATE_SENT}


async def test_a_crash_while_cancelling_still_cancels(house: House) -> None:
    await house.launch(a_campaign(exceptions={"order_placed": ""}))
    await house.append(an_event(id="e"))
    await house.work()
    await house.append(an_event("order_placed"))
    await house.judge()

    successor = await house.succeed()
    await successor.relay.claim()
    await house.work(successor)

    assert house.out == []
    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_a_send_that_expired_while_nobody_worked_does_not_go_out(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.judge()
    house.clock.advance(hours=72)

    successor = await house.succeed()
    await successor.relay.claim()
    await house.work(successor)

    decision = await house.decision("e")
    assert house.out == []
    assert (decision.state, decision.gates[-1].name) == (Decision.STATE_EXITED, "expiry")


async def test_a_send_that_cannot_be_judged_is_owed_until_it_expires(house: House) -> None:
    campaign = a_campaign()
    campaign.time_to_live.FromTimedelta(timedelta(seconds=90))
    await house.launch(campaign)
    await house.append(an_event(id="e"))
    await house.judge()

    # Fails before it is asked whether its time is over.
    broken: Any = "planned: a bug in judging"
    states = []
    for name in ("two", "three"):
        successor = await house.succeed(name)
        catalogue = await successor.catalogues.reload()
        plans = {key: replace(plan, end_time=broken) for key, plan in catalogue.plans.items()}
        successor.catalogues.current = replace(catalogue, plans=plans)
        await successor.relay.claim()
        await house.work(successor)
        states.append((await house.decision("e")).state)

    assert states == [Decision.STATE_SENDING, Decision.STATE_EXITED]
    assert house.out == []


async def test_two_workers_fire_a_timer_once(house: House) -> None:
    await house.launch(a_campaign(delay=60, reentry=0))
    await house.append(*(an_event() for _ in range(10)))
    await house.judge()
    house.clock.advance(seconds=60)
    other = house.another_worker("two")
    other.partitions._positions = house.worker.partitions.positions()

    await asyncio.gather(house.worker.timers.run_once(), other.timers.run_once())

    assert house.worker.relay.owed + other.relay.owed == 10
    await house.worker.relay.drain(house.stopping)
    await other.relay.drain(house.stopping)
    assert len(house.out) == 10


async def test_one_send_that_delivery_will_not_take_does_not_keep_the_others(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    house.memory.delivery.poisonous = lambda one: b"poison" in one.data_json
    await house.append(*(an_event(kind="poison" if n == 3 else "good") for n in range(8)))

    await house.work()

    assert len(house.out) == 7
    states = [one.state for one in await house.decided()]
    assert sorted(states) == [Decision.STATE_SENDING, *[Decision.STATE_SENT] * 7]


async def test_reading_stops_while_too_much_is_owed(house: House) -> None:
    worker = house.another_worker("small", owed_max=3)
    house.clock.advance(seconds=60)
    await worker.partitions.run_once()
    await house.launch(a_campaign(reentry=0))
    await house.append(*(an_event() for _ in range(5)))
    await house.judge(worker)

    assert worker.relay.owed == 5
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await worker.relay.relieved(house.stopping)

    await worker.relay.drain(house.stopping)
    await worker.relay.relieved(house.stopping)
    assert len(house.out) == 5


async def test_workers_share_partitions_evenly_and_take_over_from_the_dead(house: House) -> None:
    other = house.another_worker("two")
    for _ in range(2):
        await other.partitions.run_once()
        await house.worker.partitions.run_once()
    shared = (house.worker.partitions.held, other.partitions.held)

    successor = await house.succeed("three")

    assert sorted(shared[0] + shared[1]) == [0, 1, 2, 3]
    assert len(shared[0]) == len(shared[1]) == 2
    assert successor.partitions.held == [0, 1, 2, 3]
