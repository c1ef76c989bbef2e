"""Makes sure that why somebody got a message, or did not, has one complete answer."""

from datetime import timedelta

import pytest
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import decision_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidArgument
from tests.integration.trigger.house import House, a_campaign, an_event

CAP = "workspaces/acme/frequencyCaps/daily"
NAME = "workspaces/acme/campaigns/cart"


async def explain(house: House, profile: str = "ana", **asked: object) -> pb.DecisionExplanation:
    request = pb.ExplainDecisionRequest(
        profile=f"workspaces/acme/profiles/{profile}",
        campaign=NAME,
        **asked,  # type: ignore[arg-type]
    )
    return await house.decisions.ExplainDecision(request, None)


async def test_a_message_that_went_out_is_followed_to_its_provider(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.work()

    said = await explain(house, event_id="e")

    assert said.summary == "ana, cart, event e: the message was accepted by the provider"
    [decision] = said.decisions
    assert decision.delivery
    assert decision.trace_id


async def test_a_cap_is_told_with_the_messages_that_used_it_up(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event(id="first"))
    await house.work()
    [sent] = house.out
    house.memory.throttle.judge = lambda _: throttle_pb.Verdict(
        suppress=throttle_pb.Verdict.Suppress(gate="frequency_cap", detail=f"{CAP} takes 1 a day")
    )
    house.memory.throttle.cap_uses = [
        throttle_pb.ExplainSendResponse.CapUse(
            frequency_cap=CAP, limit=1, send_ids=[sent.delivery_id]
        )
    ]
    await house.append(an_event(id="second"))
    await house.work()

    said = await explain(house, event_id="second")

    assert "a frequency cap was reached" in said.summary
    assert (said.cap.frequency_cap, said.cap.limit) == (CAP, 1)
    assert list(said.cap.deliveries) == [(await house.decision("first")).delivery]


async def test_without_event_and_time_the_latest_decision_is_told(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    for number in range(3):
        await house.append(an_event(id=f"e-{number}"))
        await house.work()
        house.clock.advance(minutes=1)

    assert [one.event_id for one in (await explain(house)).decisions] == ["e-2"]


async def test_around_a_time_only_what_was_decided_then_is_told(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    begun = house.clock.now()
    for number in range(3):
        await house.append(an_event(id=f"e-{number}"))
        await house.work()
        house.clock.advance(hours=2)

    said = await explain(house, time=begun + timedelta(hours=2, minutes=30))
    nothing = await explain(house, time=begun + timedelta(days=3))

    assert [one.event_id for one in said.decisions] == ["e-1"]
    assert "that time is yet to come" in nothing.summary


async def test_what_is_refused_says_what_was_seen(house: House) -> None:
    await house.launch(a_campaign(filter="event.properties.value > 100.0"))
    await house.append(an_event(id="e", value=90.0))
    await house.work()

    said = await explain(house, event_id="e")

    assert said.summary.startswith("ana, cart, event e: nothing began: the filter did not hold")
    assert said.decisions[0].state == Decision.STATE_REFUSED


async def test_a_campaign_nobody_made_explains_everything(house: House) -> None:
    said = await explain(house)

    assert said.summary == "ana, cart: nothing is on record: there is no such campaign"


async def test_who_did_nothing_that_begins_it_got_nothing(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event("other"))
    await house.work()

    said = await explain(house, time=house.clock.now())

    assert "no cart_filled was heard of her around that time" in said.summary


async def test_an_event_while_the_campaign_was_paused_says_so_and_by_when(house: House) -> None:
    await house.launch(a_campaign(event_type="elsewhere"), "other")
    await house.launch(a_campaign())
    house.clock.advance(hours=5)
    await house.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=NAME), None)
    paused = house.clock.now()
    house.clock.advance(days=1)
    await house.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=NAME), None)

    said = await explain(house, time=paused + timedelta(hours=3))

    assert f"the campaign was paused since {paused:%Y-%m-%dT%H:%M:%SZ}" in said.summary


async def test_a_delivery_that_is_gone_is_no_mistake(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.work()
    house.memory.delivery.created.clear()

    assert "is known to delivery no more" in (await explain(house, event_id="e")).summary


async def test_explaining_costs_the_path_of_an_event_nothing(house: House) -> None:
    await house.launch(a_campaign(filter="event.properties.value > 100.0", reentry=0))
    await house.append(an_event(value=1.0))
    await house.work()
    before = house.memory.faults.calls.copy()

    await house.append(*(an_event(value=float(one % 2 * 200)) for one in range(50)))
    await house.work()

    calls = house.memory.faults.calls - before
    # One observation a turn, however many decisions; what is sent is asked for together.
    assert calls["ObserveEvents"] == 1
    assert sum(calls.values()) <= 10
    assert len(await house.decided(page_size=100)) == 51


async def test_a_campaign_of_another_workspace_explains_nothing(house: House) -> None:
    request = pb.ExplainDecisionRequest(
        profile="workspaces/acme/profiles/ana", campaign="workspaces/other/campaigns/cart"
    )

    with pytest.raises(InvalidArgument):
        await house.decisions.ExplainDecision(request, None)


@pytest.mark.parametrize("seconds", [-62135596800, 253402300799])
async def test_a_time_at_the_end_of_time_is_refused(house: House, seconds: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await explain(house, time=Timestamp(seconds=seconds))

    assert refused.value.violations[0].field == "time"
