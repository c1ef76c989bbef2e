"""Makes sure that a campaign's state means what it says, from the moment it is told."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh import postgres
from mesh.errors import FailedPrecondition
from services.trigger.model import Occurrence, Person, Seen
from services.trigger.store import EnrollmentStore
from tests.integration.trigger.house import PARTITIONS, House, a_campaign, an_event

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


async def held_though_active(house: House, *profiles: str) -> None:
    """Leave people held in a campaign that was launched, and nobody got round to waking them."""
    await house.launch(a_campaign(delay=600))
    await house.append(*(an_event(profile=profile) for profile in profiles))
    await house.work()
    await pause(house)
    house.clock.advance(seconds=700)
    await house.work()
    await house.database.pool.execute("UPDATE campaigns SET state = 'active'")


async def due(house: House) -> list[str]:
    store = EnrollmentStore(house.database, partitions=PARTITIONS)
    found = await store.due(dict.fromkeys(range(PARTITIONS), house.clock.now()), limit=100)
    return sorted(passage.key.profile for passage in found)


async def test_however_many_were_held_all_of_them_go_on(house: House) -> None:
    await held_though_active(house, "a", "b", "c", "d", "e")
    store = EnrollmentStore(house.database, partitions=PARTITIONS, wake_max=2)

    held = await store.held()
    woken = await store.wake_held("acme", "cart", house.clock.now())

    assert (held, woken) == ([("acme", "cart")], 5)
    assert await due(house) == ["a", "b", "c", "d", "e"]
    assert await store.held() == []


async def test_however_many_wait_all_of_them_leave_at_once(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    for profile in "abcd":
        await house.append(an_event(profile=profile), an_event(profile=profile * 2))
        await house.work()
        house.clock.advance(seconds=1)
    store = EnrollmentStore(house.database, partitions=PARTITIONS, wake_max=3)

    woken = await store.wake_all("acme", "cart", house.clock.now())

    assert woken == 8
    assert await due(house) == ["a", "aa", "b", "bb", "c", "cc", "d", "dd"]


async def test_one_who_cannot_be_woken_keeps_nobody_else(house: House) -> None:
    await held_though_active(house, "stuck", "other")

    async with house.database.transaction() as busy, asyncio.timeout(5):
        await busy.execute("SELECT FROM enrollments WHERE profile = 'stuck' FOR UPDATE")
        await house.worker.housekeeping.sweep()

    assert await due(house) == ["other"]


async def test_a_step_of_the_sweep_that_fails_keeps_no_other(
    house: House, migrated_url: str
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event())
    await house.work()
    house.clock.advance(days=365)
    soon = timedelta(milliseconds=300)

    async with (
        postgres.connect(migrated_url, schema="trigger", timeout=soon) as impatient,
        house.database.transaction() as busy,
    ):
        await busy.execute("LOCK campaigns")
        await replace(house, database=impatient).another_worker("two").housekeeping.sweep()

    assert await house.decided() == []
