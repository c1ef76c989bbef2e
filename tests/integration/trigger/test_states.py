"""Makes sure that a campaign's state means what it says, from the moment it is told."""

import asyncio
from dataclasses import replace

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.errors import FailedPrecondition
from services.trigger.model import Occurrence, Person, Seen
from tests.integration.trigger.house import House, a_campaign, an_event

NAME = "workspaces/acme/campaigns/cart"


async def pause(house: House) -> Campaign:
    return await house.campaigns.PauseCampaign(pb.PauseCampaignRequest(name=NAME), None)


async def launch(house: House) -> Campaign:
    return await house.campaigns.LaunchCampaign(pb.LaunchCampaignRequest(name=NAME), None)


async def archive(house: House) -> Campaign:
    return await house.campaigns.ArchiveCampaign(pb.ArchiveCampaignRequest(name=NAME), None)


async def create(house: House, campaign: Campaign) -> Campaign:
    return await house.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(parent="workspaces/acme", campaign_id="cart", campaign=campaign),
        None,
    )


async def test_a_draft_reacts_to_nothing(house: House) -> None:
    await create(house, a_campaign())
    await house.append(an_event())

    await house.work()

    assert await house.decided() == []


async def test_every_event_after_the_launch_is_judged_with_it(house: House) -> None:
    # The worker knows the catalogue of before, and is told of nothing.
    await house.launch(a_campaign(event_type="other"), "other")
    await house.append(an_event("other"))
    await house.work()
    await create(house, a_campaign())
    await launch(house)

    await house.append(an_event(id="e"))
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_SENT


async def test_a_launch_while_a_turn_is_under_way_is_seen_by_its_commit(house: House) -> None:
    await house.launch(a_campaign(event_type="other"), "other")
    await house.work()
    await create(house, a_campaign())
    held = house.memory.faults.hold("ObserveEvents")
    await house.append(an_event(id="e"))
    turn = asyncio.gather(*(lane.run_once(house.stopping) for lane in house.worker.lanes))
    while not house.memory.faults.calls["ObserveEvents"]:  # noqa: ASYNC110 — a peer behind gRPC
        await asyncio.sleep(0)

    await launch(house)
    held.set()
    await turn
    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_SENT


async def test_nobody_enters_a_paused_campaign_and_the_record_says_so(house: House) -> None:
    await house.launch(a_campaign())
    await pause(house)
    await house.append(an_event(id="e"))

    await house.work()

    decision = await house.decision("e")
    assert (decision.state, decision.gates[-1].name) == (Decision.STATE_REFUSED, "campaign_active")
    assert decision.gates[-1].detail == "paused"


async def test_who_waits_in_a_paused_campaign_goes_on_when_it_is_launched_again(
    house: House,
) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="e"))
    await house.work()
    await pause(house)
    house.clock.advance(seconds=700)
    await house.work()
    held = await house.decision("e")
    looked_at_again = await house.worker.timers.run_once()

    await launch(house)
    await house.work()

    assert held.state == Decision.STATE_WAITING
    assert looked_at_again == 0
    assert (await house.decision("e")).state == Decision.STATE_SENT


async def test_who_waits_too_long_in_a_paused_campaign_expires(house: House) -> None:
    campaign = a_campaign(delay=600)
    campaign.time_to_live.FromSeconds(100)
    await house.launch(campaign)
    await house.append(an_event(id="e"))
    await house.work()
    await pause(house)
    house.clock.advance(seconds=600)
    await house.work()
    house.clock.advance(seconds=100)

    await launch(house)
    await house.work()

    assert house.out == []
    assert (await house.decision("e")).gates[-1].name == "expiry"


async def test_who_waits_leaves_an_archived_campaign_at_once(house: House) -> None:
    await house.launch(a_campaign(delay=86400))
    await house.append(an_event(id="e"))
    await house.work()

    await archive(house)
    await house.work()

    decision = await house.decision("e")
    assert (decision.state, decision.gates[-1].name) == (Decision.STATE_EXITED, "campaign_active")


async def test_who_waits_is_judged_by_the_new_version(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="e", value=1))
    await house.work()
    changed = Campaign(name=NAME, trigger=pb.Trigger(filter="event.properties.value > 10"))
    request = pb.UpdateCampaignRequest(campaign=changed)
    request.update_mask.paths.append("trigger.filter")
    await house.campaigns.UpdateCampaign(request, None)

    house.clock.advance(seconds=600)
    await house.work()

    assert house.out == []
    assert (await house.decision("e")).gates[-1].name == "filter"


async def test_moving_to_where_it_is_changes_nothing(house: House) -> None:
    first = await house.launch(a_campaign())

    again = await launch(house)

    assert again == first


async def test_an_archived_campaign_cannot_come_back(house: House) -> None:
    await house.launch(a_campaign())
    await archive(house)

    with pytest.raises(FailedPrecondition) as caught:
        await launch(house)

    assert caught.value.metadata == {
        "resourceName": NAME,
        "state": "ARCHIVED",
        "allowedStates": "DRAFT, PAUSED",
    }


async def test_a_draft_cannot_be_paused(house: House) -> None:
    await create(house, a_campaign())

    with pytest.raises(FailedPrecondition):
        await pause(house)


async def test_a_message_that_cannot_be_judged_does_not_keep_the_others(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="bad", profile="bad"), an_event(id="good"))
    await house.work()
    catalogues = house.worker.catalogues
    whole = catalogues.current

    def fail(_event: Occurrence, person: Person, *_: object) -> Seen:
        if person.profile == "bad":
            raise RuntimeError("planned: a bug in judging")
        return Seen(passed=True, detail="passed")

    plans = {key: replace(plan, filter=fail) for key, plan in whole.plans.items()}
    catalogues.current = replace(whole, plans=plans)
    house.clock.advance(seconds=600)
    await house.work()
    while_broken = await house.decision("bad", "bad")
    catalogues.current = whole
    house.clock.advance(seconds=60)
    await house.work()

    assert (await house.decision("good")).state == Decision.STATE_SENT
    assert while_broken.state == Decision.STATE_WAITING
    assert (await house.decision("bad", "bad")).state == Decision.STATE_SENT
