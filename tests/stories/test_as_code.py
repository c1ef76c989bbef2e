"""Tells the stories of a campaign that changes while people are in it, and of the question why (not)."""

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import decision_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.trigger.v1.decision_service_pb2_grpc import DecisionServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = '{{"to":{{{{ profile.id | tojson }}}},"words":"{}"}}'


async def explain(world: World, profile: str, event_id: str = "") -> pb.DecisionExplanation:
    stub = DecisionServiceStub(world.mesh.channels["trigger"])
    return await stub.ExplainDecision(
        pb.ExplainDecisionRequest(
            profile=world.name("profiles", profile),
            campaign=world.name("campaigns", "cart"),
            event_id=event_id,
        )
    )


async def test_who_waits_finishes_by_the_words_she_entered_for(world: World) -> None:
    name = await world.campaign(
        "cart",
        "cart_filled",
        delay=2.0,
        template=await world.template(WORDS.format("old"), template_id="old"),
    )
    await world.happens(world.event("cart_filled", "ana"))
    await world.decided("ana", Decision.STATE_WAITING)
    changed = await world.campaigns.GetCampaign(campaign_pb.GetCampaignRequest(name=name))
    changed.message.template = await world.template(WORDS.format("new"), template_id="new")

    await world.campaigns.UpdateCampaign(
        campaign_pb.UpdateCampaignRequest(
            campaign=changed,
            update_mask=FieldMask(paths=["message"]),
            in_flight=campaign_pb.IN_FLIGHT_FINISH,
        )
    )
    await world.happens(world.event("cart_filled", "bo"))

    came = await eventually(world.webhooks, lambda all_: len(all_) == 2)
    assert {one["to"]: one["words"] for one in came} == {"ana": "old", "bo": "new"}


async def test_why_she_got_it_is_told_to_the_end(world: World) -> None:
    await world.campaign("cart", "cart_filled", template=await world.template(WORDS.format("hi")))
    await world.happens(world.event("cart_filled", "ana"))
    await eventually(world.webhooks)
    await world.decided("ana", Decision.STATE_SENT)

    async def look() -> pb.DecisionExplanation:
        return await explain(world, "ana")

    said = await eventually(look, lambda one: "was accepted by the provider" in one.summary)

    assert said.decisions[0].trace_id


async def test_what_used_up_her_cap_is_told_with_the_messages_that_did(world: World) -> None:
    await world.cap(1)
    await world.campaign("cart", "cart_filled", template=await world.template(WORDS.format("hi")))
    first, second = world.event("cart_filled", "ana"), world.event("cart_filled", "ana")
    await world.happens(first)
    sent = await world.decided("ana", Decision.STATE_SENT)
    await world.happens(second)
    await world.decided("ana", Decision.STATE_EXITED)

    said = await explain(world, "ana", second.event_id)

    assert "a frequency cap was reached" in said.summary
    assert said.cap.limit == 1
    assert list(said.cap.deliveries) == [sent.delivery]


async def test_of_what_never_was_the_reason_is_told(world: World) -> None:
    assert (await explain(world, "ana")).summary.endswith("there is no such campaign")
    await world.campaign("cart", "cart_filled", template=await world.template(WORDS.format("hi")))

    assert "no cart_filled was heard of her" in (await explain(world, "ana")).summary
