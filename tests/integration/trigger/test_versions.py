"""Makes sure that people who wait while a campaign changes fare as the change says."""

from datetime import timedelta

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.decision_service_pb2 import Decision
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Aborted, FailedPrecondition, NotFound
from tests.integration.trigger.house import House, a_campaign, an_event

NAME = "workspaces/acme/campaigns/cart"
HOUR = 3600


async def change(
    house: House, campaign: Campaign, in_flight: pb.InFlight.ValueType = pb.IN_FLIGHT_MIGRATE
) -> Campaign:
    campaign.name = NAME
    return await house.campaigns.UpdateCampaign(
        pb.UpdateCampaignRequest(
            campaign=campaign, update_mask=FieldMask(paths=["*"]), in_flight=in_flight
        ),
        None,
    )


def worded(template: str, **rest: object) -> Campaign:
    """Return a campaign that waits an hour and sends a template."""
    campaign = a_campaign(delay=HOUR, reentry=0, **rest)  # type: ignore[arg-type]
    campaign.message.template = f"workspaces/acme/templates/{template}"
    return campaign


async def enter(house: House, id_: str, profile: str = "ana") -> None:
    await house.append(an_event(id=id_, profile=profile))
    await house.work()


async def versions(house: House, **page: object) -> pb.ListCampaignVersionsResponse:
    request = pb.ListCampaignVersionsRequest(name=NAME, **page)  # type: ignore[arg-type]
    return await house.campaigns.ListCampaignVersions(request, None)


async def traffic(house: House) -> pb.CampaignTraffic:
    return await house.campaigns.GetCampaignTraffic(pb.GetCampaignTrafficRequest(name=NAME), None)


def templates(house: House) -> dict[str, str]:
    return {one.profile.rpartition("/")[2]: one.template.rpartition("/")[2] for one in house.out}


async def test_people_who_wait_through_several_changes_fare_as_each_says(house: House) -> None:
    await house.launch(worded("one"))
    await enter(house, "a", "ana")
    await change(house, worded("two"), pb.IN_FLIGHT_FINISH)
    await enter(house, "b", "bo")
    await change(house, worded("three"), pb.IN_FLIGHT_MIGRATE)
    await enter(house, "c", "cy")
    await change(house, worded("four"), pb.IN_FLIGHT_FINISH)
    await enter(house, "d", "di")

    found = await traffic(house)

    assert (found.waiting_count, dict(found.waiting_by_version)) == (4, {3: 3, 4: 1})
    house.clock.advance(seconds=HOUR)
    await house.work()
    assert templates(house) == {"ana": "three", "bo": "three", "cy": "three", "di": "four"}


async def test_each_finishes_by_the_version_she_entered_with(house: House) -> None:
    await house.launch(worded("one"))
    await enter(house, "a", "ana")
    await change(house, worded("two"), pb.IN_FLIGHT_FINISH)
    await enter(house, "b", "bo")
    await change(house, worded("three"), pb.IN_FLIGHT_FINISH)

    house.clock.advance(seconds=HOUR)
    await house.work()

    assert templates(house) == {"ana": "one", "bo": "two"}
    assert (await house.decision("a")).campaign_version == 1


async def test_an_earlier_versions_exception_stops_only_those_who_go_by_it(house: House) -> None:
    await house.launch(worded("one", exceptions={"order_placed": ""}))
    await enter(house, "a", "ana")
    await change(house, worded("two"), pb.IN_FLIGHT_FINISH)
    await enter(house, "b", "bo")
    house.clock.advance(seconds=60)

    await house.append(
        an_event("order_placed", profile="ana"), an_event("order_placed", profile="bo")
    )
    await house.work()

    assert (await house.decision("a")).gates[-1].name == "exception"
    assert (await house.decision("b", "bo")).state == Decision.STATE_WAITING


async def test_who_is_sent_out_leaves_at_once_and_who_enters_then_stays(house: House) -> None:
    await house.launch(worded("one"))
    await enter(house, "a", "ana")
    await change(house, worded("two"), pb.IN_FLIGHT_EXIT)
    await enter(house, "b", "bo")

    gone, stays = await house.decision("a"), await house.decision("b", "bo")

    assert gone.state == Decision.STATE_EXITED
    assert (gone.gates[-1].name, gone.gates[-1].passed) == ("version", False)
    assert stays.state == Decision.STATE_WAITING
    assert (await traffic(house)).waiting_by_version == {2: 1}


async def test_who_waits_in_a_paused_campaign_is_sent_out_too(house: House) -> None:
    await house.launch(worded("one"))
    await enter(house, "a")
    await house.campaigns.PauseCampaign(pb.PauseCampaignRequest(name=NAME), None)
    house.clock.advance(seconds=HOUR)
    await house.work()
    await change(house, worded("two"), pb.IN_FLIGHT_EXIT)

    await house.work()

    assert (await house.decision("a")).gates[-1].name == "version"


async def test_a_version_is_held_no_longer_than_somebody_goes_by_it(house: House) -> None:
    await house.launch(worded("one"))
    await enter(house, "a")
    await change(house, worded("two"), pb.IN_FLIGHT_FINISH)
    catalogues = house.worker.catalogues
    await house.worker.housekeeping.sweep()
    held = (await catalogues.reload()).plans["acme", "cart"].past.plans
    house.clock.advance(days=31)
    await house.work()
    await house.worker.housekeeping.sweep()
    await change(house, worded("three"), pb.IN_FLIGHT_FINISH)

    after = (await catalogues.reload()).plans["acme", "cart"].past.plans

    assert (set(held), set(after)) == ({1}, {2})


async def test_every_version_is_kept_and_listed_newest_first(house: House) -> None:
    await house.launch(worded("one"))
    await change(house, worded("two"), pb.IN_FLIGHT_FINISH)
    await change(house, worded("two"))
    await change(house, worded("three"), pb.IN_FLIGHT_EXIT)

    first = await versions(house, page_size=2)
    rest = await versions(house, page_size=2, page_token=first.next_page_token)

    assert [one.version for one in (*first.versions, *rest.versions)] == [3, 2, 1]
    assert not rest.next_page_token
    assert [one.in_flight for one in first.versions] == [
        pb.IN_FLIGHT_EXIT,
        pb.IN_FLIGHT_FINISH,
    ]
    assert first.versions[1].campaign.message.template.endswith("/two")
    assert first.versions[1].campaign.state == Campaign.STATE_ACTIVE


async def test_a_rollback_is_a_new_version_with_the_content_of_an_earlier_one(
    house: House,
) -> None:
    await house.launch(worded("one"))
    await enter(house, "a")
    await change(house, worded("two"))

    request = pb.RollbackCampaignRequest(name=NAME, version=1)
    back = await house.campaigns.RollbackCampaign(request, None)
    again = await house.campaigns.RollbackCampaign(request, None)

    assert (back.version, back.message.template.rpartition("/")[2]) == (3, "one")
    assert again == back
    house.clock.advance(seconds=HOUR)
    await house.work()
    assert templates(house) == {"ana": "one"}


async def test_what_cannot_be_rolled_back_to_is_refused(house: House) -> None:
    await house.launch(worded("one"))
    await change(house, worded("two"))

    with pytest.raises(NotFound):
        await house.campaigns.RollbackCampaign(
            pb.RollbackCampaignRequest(name=NAME, version=9), None
        )
    with pytest.raises(Aborted):
        await house.campaigns.RollbackCampaign(
            pb.RollbackCampaignRequest(name=NAME, version=1, etag="0"), None
        )
    await house.campaigns.ArchiveCampaign(pb.ArchiveCampaignRequest(name=NAME), None)
    with pytest.raises(FailedPrecondition):
        await house.campaigns.RollbackCampaign(
            pb.RollbackCampaignRequest(name=NAME, version=1), None
        )


async def test_traffic_says_who_is_on_the_way(house: House) -> None:
    await house.launch(worded("one"))
    nobody = await traffic(house)
    await enter(house, "a")

    found = await traffic(house)

    assert (nobody.waiting_count, nobody.HasField("next_due_time")) == (0, False)
    assert (found.waiting_count, found.sending_count) == (1, 0)
    assert found.next_due_time.ToDatetime() == house.clock.now().replace(tzinfo=None) + timedelta(
        seconds=HOUR
    )
