"""People are followed by their reports: who enters, leaves or stays in a region gets its message."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mesh.errors import Unavailable, unavailable
from services.trigger.store import TurnStore
from tests.integration.trigger.house import NOW, House, an_event
from tests.integration.trigger.places import (
    AWAY,
    CAFE,
    SHOP,
    a_circle,
    a_report,
    dwells,
    enters,
    leaves,
    put,
)


async def test_who_walks_into_a_region_hears_of_it_once(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))

    await house.append(a_report(AWAY), a_report(SHOP, id="there", accuracy_m=5), a_report(SHOP))
    await house.work()

    [sent] = house.out
    event = msgspec.json.decode(sent.data_json)["event"]
    assert event["id"] == "there"
    assert event["type"] == "region_entered"
    assert event["properties"] == {
        "latitude": SHOP[0],
        "longitude": SHOP[1],
        "accuracy_m": 5,
        "region": "shop",
    }


async def test_the_first_report_inside_enters(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters())

    await house.append(a_report(SHOP))
    await house.work()

    assert len(house.out) == 1


async def test_who_was_never_inside_does_not_leave(house: House) -> None:
    await put(house, a_circle())
    await house.launch(leaves())

    await house.append(a_report(AWAY), a_report(CAFE))
    await house.work()

    assert not house.out


async def test_who_leaves_hears_of_it_over_turns(house: House) -> None:
    await put(house, a_circle())
    await house.launch(leaves())

    await house.append(a_report(SHOP))
    await house.work()
    await house.append(a_report(AWAY))
    await house.work()

    assert len(house.out) == 1


async def test_several_reports_of_one_turn_are_walked_in_order(house: House) -> None:
    await put(house, a_circle("shop"))
    await put(house, a_circle("cafe", CAFE))
    await house.launch(enters("shop", "cafe", reentry=0), "in")
    await house.launch(leaves("shop", "cafe", reentry=0), "out")

    await house.append(*map(a_report, (SHOP, CAFE, SHOP, AWAY)))
    await house.work()

    decided = [(one.campaign.rpartition("/")[2]) for one in await house.decided()]
    assert sorted(decided) == ["in"] * 3 + ["out"] * 3


async def test_a_report_older_than_the_latest_moves_nobody(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))

    await house.append(a_report(AWAY, when=NOW))
    await house.work()
    await house.append(a_report(SHOP, when=NOW - timedelta(minutes=5)))
    await house.work()

    assert not house.out


async def test_a_clock_that_runs_ahead_does_not_make_what_comes_look_old(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))

    await house.append(a_report(AWAY, when=NOW + timedelta(hours=2)))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_report(SHOP))
    await house.work()

    assert len(house.out) == 1


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"latitude": "52.52", "longitude": "13.405"},
        {"latitude": True, "longitude": 13.405},
        {"latitude": 152.52, "longitude": 13.405},
        {"latitude": 52.52, "longitude": None},
    ],
)
async def test_a_report_that_tells_no_place_moves_nobody_but_stays_an_event(
    house: House, properties: dict[str, Any]
) -> None:
    await put(house, a_circle())
    await house.launch(enters(), "in")

    await house.append(an_event("location_reported", **properties), a_report(SHOP, id="there"))
    await house.work()

    assert [one.event_id for one in await house.decided()] == ["there"]


class Crash(TurnStore):
    """Dies as it commits, once: before it has, or before it hears that it has."""

    def __init__(self, house: House, *, committed: bool) -> None:
        super().__init__(house.database)
        self.committed = committed
        self.crashed = False

    async def commit(self, *args: Any, **options: Any) -> None:
        if not self.crashed and not self.committed:
            self.crashed = True
            raise unavailable("postgres")
        await super().commit(*args, **options)
        if not self.crashed:
            self.crashed = True
            raise unavailable("postgres")


@pytest.mark.parametrize("committed", [False, True])
async def test_a_crash_around_the_commit_moves_nobody_twice(house: House, committed: bool) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0), "in")
    await house.launch(leaves(reentry=0), "out")
    await house.append(a_report(SHOP), a_report(AWAY))
    house.worker.turns._store = Crash(house, committed=committed)
    with pytest.raises(Unavailable):
        await house.judge()

    successor = await house.succeed()
    await successor.relay.claim()
    await house.work(successor)

    assert len(house.out) == 2


async def test_two_workers_on_one_partition_move_her_once(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))
    await house.append(*map(a_report, (SHOP, AWAY, SHOP)))
    other = house.another_worker("two")
    other.partitions.positions = house.worker.partitions.positions  # type: ignore[method-assign]

    await asyncio.gather(house.judge(), house.judge(other))
    await house.worker.relay.drain(house.stopping)
    await other.relay.drain(house.stopping)

    assert len(house.out) == 2


async def test_who_stays_long_enough_hears_of_it(house: House) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))

    await house.append(a_report(SHOP))
    await house.work()
    house.clock.advance(minutes=9)
    await house.append(a_report(SHOP))
    await house.work()
    early = len(house.out)
    house.clock.advance(minutes=1)
    await house.work()

    assert (early, len(house.out)) == (0, 1)


async def test_who_leaves_in_time_does_not(house: House) -> None:
    await put(house, a_circle())
    await put(house, a_circle("cafe", CAFE))
    await house.launch(dwells("shop", minutes=10), "stay")
    await house.launch(enters("cafe"), "in")

    await house.append(a_report(SHOP, id="came"))
    await house.work()
    house.clock.advance(minutes=9)
    await house.append(a_report(CAFE))
    await house.work()
    house.clock.advance(minutes=5)
    await house.work()

    decision = await house.decision("came")
    assert decision.gates[-1].name == "dwell"
    assert [one.template for one in house.out] == ["workspaces/acme/templates/cart"]


async def test_who_left_too_early_may_try_again(house: House) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))

    for place in (SHOP, AWAY, SHOP):
        await house.append(a_report(place))
        await house.work()
        house.clock.advance(minutes=5)
    await house.append(*map(a_report, (AWAY, SHOP, AWAY, SHOP)))
    await house.work()
    house.clock.advance(minutes=11)
    await house.work()

    assert len(house.out) == 1


async def test_who_stayed_once_does_not_hear_of_it_again(house: House) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))

    for place in (SHOP, AWAY, SHOP):
        await house.append(a_report(place))
        await house.work()
        house.clock.advance(minutes=11)
        await house.work()

    assert len(house.out) == 1


async def test_who_left_too_early_may_try_again_after_her_decisions_are_forgotten(
    house: House,
) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))
    await house.append(a_report(SHOP), a_report(AWAY))
    await house.work()
    house.clock.advance(days=100)
    await house.worker.housekeeping.sweep()

    await house.append(a_report(SHOP))
    await house.work()
    house.clock.advance(minutes=11)
    await house.work()

    assert len(house.out) == 1


async def test_leaving_after_she_stayed_long_enough_stops_no_message_that_waits_on(
    house: House,
) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10, delay=3600))
    await house.append(a_report(SHOP))
    await house.work()
    house.clock.advance(minutes=11)
    await house.append(a_report(AWAY))
    await house.work()
    early = len(house.out)
    house.clock.advance(minutes=60)

    await house.work()

    assert (early, len(house.out)) == (0, 1)
