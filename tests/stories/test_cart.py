"""Tells the story of the cart left behind: who hears of it, when, in which words, and who does not."""

import pytest
from beckon.trigger.v1.campaign_service_pb2 import ExceptionEvent
from beckon.trigger.v1.decision_service_pb2 import Decision

from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = '{"to":{{ profile.id | tojson }},"cart":{{ event.properties.cart | tojson }}}'
BOUGHT = ExceptionEvent(event_type="bought")
FILLED = ExceptionEvent(event_type="cart_filled")


async def a_cart_campaign(world: World, *, delay: float = 1.0, launch: bool = True) -> str:
    return await world.campaign(
        "cart",
        "cart_filled",
        where="event.properties.value > 100.0",
        delay=delay,
        exceptions=[BOUGHT, FILLED],
        template=await world.template(BODY),
        launch=launch,
    )


async def test_who_leaves_a_cart_hears_of_it_after_the_delay(world: World) -> None:
    await a_cart_campaign(world)

    await world.happens(world.event("cart_filled", "ana", value=120, cart="c1"))

    decision = await world.decided("ana", Decision.STATE_SENT)
    assert await eventually(world.webhooks) == [{"to": "ana", "cart": "c1"}]
    arrived = (await world.requests())[0].arrive_time
    assert arrived.timestamp() >= decision.due_time.ToNanoseconds() / 1e9


async def test_a_cart_of_little_worth_leads_to_nothing(world: World) -> None:
    await a_cart_campaign(world, delay=0.1)

    await world.happens(world.event("cart_filled", "ana", value=100, cart="c1"))

    decision = await world.decided("ana", Decision.STATE_REFUSED)
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("filter", False)


async def test_nobody_who_bought_in_the_meantime_hears_of_it(world: World) -> None:
    await a_cart_campaign(world)

    await world.happens(world.event("cart_filled", "ana", value=120, cart="c1"))
    await world.happens(world.event("bought", "ana"))

    decision = await world.decided("ana", Decision.STATE_EXITED)
    assert decision.gates[-1].name == "exception"
    assert await world.told() == []


async def test_the_latest_cart_wins(world: World) -> None:
    await a_cart_campaign(world)

    await world.happens(
        world.event("cart_filled", "ana", value=120, cart="first", ago=0.3),
        world.event("cart_filled", "ana", value=150, cart="second", ago=0.1),
    )

    assert await eventually(world.webhooks) == [{"to": "ana", "cart": "second"}]
    await world.decided("ana", Decision.STATE_EXITED)


async def test_a_purchase_that_comes_before_its_cart_stops_it_all_the_same(world: World) -> None:
    await a_cart_campaign(world)

    await world.happens(
        world.event("bought", "ana"), world.event("cart_filled", "ana", value=120, ago=0.5)
    )

    decision = await world.decided("ana", Decision.STATE_REFUSED)
    assert decision.gates[-1].name == "exception"


async def test_a_purchase_from_before_the_cart_stops_nothing(world: World) -> None:
    await a_cart_campaign(world, delay=0.3)

    await world.happens(
        world.event("bought", "ana", ago=5.0),
        world.event("cart_filled", "ana", value=120, cart="c1"),
    )

    assert await eventually(world.webhooks) == [{"to": "ana", "cart": "c1"}]


async def test_who_waits_in_a_paused_campaign_gets_the_message_when_it_goes_on(
    world: World,
) -> None:
    name = await a_cart_campaign(world, delay=0.5)
    await world.happens(world.event("cart_filled", "ana", value=120, cart="c1"))
    await world.decided("ana", Decision.STATE_WAITING)

    await world.pause(name)
    await world.happens(world.event("cart_filled", "eve", value=120, cart="c2"))
    refused = await world.decided("eve", Decision.STATE_REFUSED)
    told_while_paused = await world.told()
    await world.launch(name)

    assert refused.gates[-1].name == "campaign_active"
    assert told_while_paused == []
    assert await eventually(world.webhooks) == [{"to": "ana", "cart": "c1"}]


async def test_who_unsubscribes_while_a_message_waits_does_not_get_it(world: World) -> None:
    await a_cart_campaign(world)
    await world.happens(world.event("cart_filled", "ana", value=120, cart="c1"))
    await world.decided("ana", Decision.STATE_WAITING)

    await world.subscribe("ana", yes=False)

    decision = await world.decided("ana", Decision.STATE_EXITED)
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("consent", False)
    assert await world.told() == []


async def test_a_profile_that_changed_while_a_message_waits_is_judged_as_it_is_then(
    world: World,
) -> None:
    await world.campaign(
        "gold", "cart_filled", where='profile.attributes.tier == "gold"', delay=1.0
    )
    await world.happens(
        world.event("profile_updated", "ana", tier="gold"),
        world.event("cart_filled", "ana", value=120),
    )
    await world.decided("ana", Decision.STATE_WAITING)

    await world.happens(world.event("profile_updated", "ana", tier="silver"))

    decision = await world.decided("ana", Decision.STATE_EXITED)
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("filter", False)
