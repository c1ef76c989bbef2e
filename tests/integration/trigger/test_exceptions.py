"""Makes sure that an exception stops a message at once, whenever it comes and wherever that is."""

from datetime import timedelta

import msgspec
import pytest
from beckon.trigger.v1.campaign_service_pb2 import Recipient
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.clock import SystemClock
from mesh.ids import shard_of
from tests.integration.trigger.house import PARTITIONS, House, Interrupted, a_campaign, an_event

BOUGHT = {"order_placed": ""}


async def test_an_exception_stops_a_waiting_message_at_once(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()
    house.clock.advance(seconds=300)
    await house.append(an_event("order_placed", id="o"))

    await house.work()

    stopped = await house.decision("e")
    house.clock.advance(seconds=600)
    await house.work()
    assert stopped.state == Decision.STATE_EXITED
    assert (stopped.gates[-1].name, "o occurred" in stopped.gates[-1].detail) == ("exception", True)
    assert house.out == []


async def test_an_exception_in_the_same_batch_stops_it_too(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))

    await house.append(an_event(id="e"), an_event("order_placed"))
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_somebody_elses_exception_stops_nothing(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"), an_event("order_placed", profile="bob"))
    await house.work()

    house.clock.advance(seconds=600)
    await house.work()

    assert len(house.out) == 1


async def test_a_late_exception_stops_what_it_would_have_stopped(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()
    occurred = house.clock.now() + timedelta(seconds=1)
    house.clock.advance(seconds=599)

    await house.append(an_event("order_placed", at=occurred))
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_an_exception_that_occurred_before_the_trigger_stops_nothing(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()

    await house.append(an_event("order_placed", at=house.clock.now() - timedelta(seconds=1)))
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_WAITING


async def test_at_the_same_instant_the_order_of_the_log_decides(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    now = house.clock.now()
    await house.append(an_event(id="first", at=now), an_event("order_placed", at=now))
    await house.append(
        an_event("order_placed", profile="bob", at=now), an_event(id="last", profile="bob", at=now)
    )

    await house.work()

    assert (await house.decision("first")).state == Decision.STATE_EXITED
    assert (await house.decision("last", "bob")).state == Decision.STATE_WAITING


async def test_a_late_trigger_does_not_begin_what_was_over_before_it_came(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    now = house.clock.now()
    await house.append(an_event("order_placed", at=now - timedelta(seconds=10)))
    await house.append(an_event(id="e", at=now - timedelta(seconds=20)))

    await house.work()

    decision = await house.decision("e")
    assert (decision.state, decision.gates[-1].name) == (Decision.STATE_REFUSED, "exception")


async def test_an_exception_may_be_tied_to_its_trigger(house: House) -> None:
    source = "event.properties.order == trigger.properties.order"
    await house.launch(a_campaign(delay=600, exceptions={"order_canceled": source}, reentry=0))
    await house.append(an_event(id="one", order=1), an_event(id="two", order=2))
    await house.work()

    await house.append(an_event("order_canceled", order=1))
    await house.work()

    assert (await house.decision("one")).state == Decision.STATE_EXITED
    assert (await house.decision("two")).state == Decision.STATE_WAITING


async def test_a_trigger_that_is_its_own_exception_restarts_the_delay(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions={"cart_filled": ""}))
    await house.append(an_event(id="first", value=1))
    await house.work()
    house.clock.advance(seconds=599)
    await house.append(an_event(id="second", value=2), an_event(id="third", value=3))
    await house.work()
    house.clock.advance(seconds=599)
    await house.work()
    before = list(house.out)

    house.clock.advance(seconds=1)
    await house.work()

    states = {one.event_id: one.state for one in await house.decided()}
    [created] = house.out
    assert before == []
    assert msgspec.json.decode(created.data_json)["event"]["properties"] == {"value": 3}
    assert states == {
        "first": Decision.STATE_EXITED,
        "second": Decision.STATE_EXITED,
        "third": Decision.STATE_SENT,
    }


async def test_reentry_is_measured_from_the_first_of_a_row_of_restarts(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions={"cart_filled": ""}, reentry=1000))
    await house.append(an_event(id="first"))
    await house.work()
    house.clock.advance(seconds=399)
    await house.append(an_event(id="second"))
    await house.work()
    house.clock.advance(seconds=600)
    await house.work()
    await house.append(an_event(id="early"))
    await house.work()
    house.clock.advance(seconds=1)

    await house.append(an_event(id="again"))
    await house.work()

    assert (await house.decision("second")).state == Decision.STATE_SENT
    assert (await house.decision("early")).gates[-1].name == "reentry"
    assert (await house.decision("again")).state == Decision.STATE_WAITING


async def test_an_older_event_that_comes_late_does_not_restart_a_newer_wait(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions={"cart_filled": ""}, reentry=0))
    now = house.clock.now()
    await house.append(an_event(id="new", at=now))
    await house.append(an_event(id="old", at=now - timedelta(seconds=5)))

    await house.work()

    assert (await house.decision("new")).state == Decision.STATE_WAITING
    assert (await house.decision("old")).gates[-1].name == "exception"


async def test_an_own_exception_that_the_trigger_filter_refuses_stops(house: House) -> None:
    campaign = a_campaign(
        delay=600, filter="event.properties.value > 0", exceptions={"cart_filled": ""}
    )
    await house.launch(campaign)
    await house.append(an_event(id="full", value=5), an_event(id="emptied", value=0))

    await house.work()

    assert (await house.decision("full")).state == Decision.STATE_EXITED
    assert (await house.decision("emptied")).gates[-1].name == "filter"


async def test_a_message_that_delivery_still_has_is_called_back(house: House) -> None:
    await house.launch(a_campaign(exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()

    await house.append(an_event("order_placed"))
    await house.work()

    assert house.out == []
    assert (await house.decision("e")).state == Decision.STATE_EXITED
    assert len(house.memory.throttle.released) == 1


async def test_a_message_that_a_provider_has_stays_sent(house: House) -> None:
    await house.launch(a_campaign(exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()
    house.memory.delivery.handed = set(house.memory.delivery.created)

    await house.append(an_event("order_placed"))
    await house.work()

    decision = await house.decision("e")
    assert decision.state == Decision.STATE_SENT
    assert "too late" in decision.gates[-1].detail


async def test_an_exception_between_release_and_delivery_cancels_in_advance(house: House) -> None:
    await house.launch(a_campaign(exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.append(an_event("order_placed"))
    for lane in house.worker.lanes:
        while await lane.run_once(house.stopping):
            pass

    await house.worker.relay.drain(house.stopping)

    assert house.out == []
    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_the_recipients_exception_stops_a_message_about_somebody_else(house: House) -> None:
    recipient = Recipient(event_property="owner")
    await house.launch(a_campaign(delay=600, recipient=recipient, exceptions={"app_opened": ""}))
    await house.append(an_event(id="e", owner="bob"))
    await house.work()

    await house.append(an_event("app_opened", profile="bob"))
    await house.work()

    assert (await house.decision("e", "bob")).state == Decision.STATE_EXITED


async def test_two_people_cannot_make_a_third_enter_twice_at_once(house: House) -> None:
    await house.launch(a_campaign(recipient=Recipient(event_property="owner")))
    names = [f"actor-{number}" for number in range(20)]
    await house.append(*(an_event(profile=name, owner="bob") for name in names))

    lanes = house.worker.lanes
    import asyncio

    await asyncio.gather(*(lane.run_once(house.stopping) for lane in lanes))
    await house.work()

    assert len(house.out) == 1
    assert len(await house.decided("bob")) == 20


@pytest.mark.parametrize("exceptions", [BOUGHT, {"order_placed": "event.properties.paid"}])
async def test_a_paused_campaign_still_hears_its_exceptions(
    house: House, exceptions: dict[str, str]
) -> None:
    from beckon.trigger.v1.campaign_service_pb2 import PauseCampaignRequest

    campaign = await house.launch(a_campaign(delay=600, exceptions=exceptions))
    await house.append(an_event(id="e"))
    await house.work()
    await house.campaigns.PauseCampaign(PauseCampaignRequest(name=campaign.name), None)

    await house.append(an_event("order_placed", paid=True))
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_what_the_log_had_when_a_message_was_due_still_stops_it(house: House) -> None:
    """Trigger was away: its timers may not be faster than its reading."""
    # The log tells the time by itself: what is appended now was there when the message was due.
    house.clock.time = SystemClock().now() + timedelta(days=1)
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"), an_event(id="f", profile="bob"))
    await house.work()
    house.clock.advance(seconds=601)
    await house.append(an_event("order_placed"), an_event("order_placed", profile="bob"))

    fired = await house.worker.timers.run_once()
    await house.work()

    assert fired == 0
    assert (await house.decision("e")).state == Decision.STATE_EXITED
    assert (await house.decision("f", "bob")).state == Decision.STATE_EXITED
    assert house.out == []


async def test_what_came_after_a_message_was_due_does_not_hold_it_back(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="e"))
    await house.work()
    house.clock.advance(seconds=601)
    await house.append(an_event("page_viewed"))

    fired = await house.worker.timers.run_once()

    assert fired == 1


async def test_an_event_that_is_judged_after_its_delay_can_still_be_stopped(house: House) -> None:
    """Trigger was away for longer than the delay: what stands behind the event comes in time."""
    await house.launch(a_campaign(delay=6, exceptions={"cart_filled": ""}, reentry=0))
    begun = house.clock.now()
    events = [
        an_event(id=f"e{number}", at=begun + timedelta(seconds=number)) for number in range(3)
    ]
    house.clock.advance(seconds=60)

    await house.append(*events)
    await house.work()

    states = [(await house.decision(event.event_id)).state for event in events]
    assert states == [Decision.STATE_EXITED, Decision.STATE_EXITED, Decision.STATE_SENT]
    assert len(house.out) == 1


async def test_an_exception_stops_what_another_partition_begins_meanwhile_though_it_occurred_before(
    house: House,
) -> None:
    ana, bea = _of_partitions(0, 1)
    rule = {"order_placed": "event.properties.total > 1"}
    recipient = Recipient(event_property="friend")
    await house.launch(a_campaign(delay=600, exceptions=rule, reentry=0, recipient=recipient))
    await house.append(an_event(id="first", profile=ana, friend=bea))
    await house.work()
    other = house.another_worker("two")
    other.partitions._positions = house.worker.partitions.positions([0])
    before = house.clock.now() - timedelta(seconds=5)
    await house.append(an_event("order_placed", profile=bea, total=5))

    async def enter() -> None:
        await house.append(an_event(id="late", profile=ana, friend=bea, at=before))
        await house.judge(other)

    house.worker.turns._store = Interrupted(house, enter)
    await house.judge()

    states = {decision.event_id: decision.state for decision in await house.decided(bea)}
    assert states == {"first": Decision.STATE_EXITED, "late": Decision.STATE_EXITED}


def _of_partitions(*partitions: int) -> list[str]:
    """Return a profile of each partition."""
    names = [f"p{number}" for number in range(100)]
    return [
        next(name for name in names if shard_of("acme", name) % PARTITIONS == partition)
        for partition in partitions
    ]
