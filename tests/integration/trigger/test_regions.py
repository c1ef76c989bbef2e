"""Regions are kept as the contract says, and none goes that an active campaign names."""

import asyncio
from typing import Any

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import region_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign, RegionCrossing
from beckon.trigger.v1.region_service_pb2 import Region

from mesh.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from services.trigger.servicer import regions as servicer
from tests.integration.trigger.house import House
from tests.integration.trigger.places import (
    AWAY,
    CAFE,
    SHOP,
    a_circle,
    a_polygon,
    a_report,
    crossing,
    dwells,
    enters,
    leaves,
    put,
)

NAME = "workspaces/acme/regions/shop"


async def update(house: House, region: Region, *paths: str, allow_missing: bool = False) -> Region:
    request = pb.UpdateRegionRequest(region=region, allow_missing=allow_missing)
    request.update_mask.paths.extend(paths)
    return await house.regions.UpdateRegion(request, None)


async def get(house: House) -> Region:
    return await house.regions.GetRegion(pb.GetRegionRequest(name=NAME), None)


async def delete(house: House, name: str = NAME, *, allow_missing: bool = False) -> None:
    await house.regions.DeleteRegion(
        pb.DeleteRegionRequest(name=name, allow_missing=allow_missing), None
    )


async def create(house: House, campaign: Campaign, **rest: Any) -> Campaign:
    return await house.campaigns.CreateCampaign(
        campaign_pb.CreateCampaignRequest(
            parent="workspaces/acme", campaign_id="sale", campaign=campaign, **rest
        ),
        None,
    )


async def test_a_region_is_kept_as_it_was_given(house: House) -> None:
    given = a_circle()
    given.display_name = "The shop"

    made = await put(house, given)

    assert await get(house) == made
    assert made.circle == given.circle
    assert made.display_name == "The shop"
    assert made.etag
    assert made.create_time == made.update_time


async def test_a_region_that_is_not_there_is_made_only_if_told_to(house: House) -> None:
    with pytest.raises(NotFound):
        await update(house, a_circle())
    with pytest.raises(NotFound):
        await get(house)
    with pytest.raises(NotFound):
        await delete(house)
    await delete(house, allow_missing=True)


async def test_only_what_the_mask_names_changes(house: House) -> None:
    before = await put(house, a_circle())
    house.clock.advance(seconds=1)

    after = await update(house, Region(name=NAME, display_name="New"), "display_name")

    assert (after.display_name, after.circle) == ("New", before.circle)
    assert after.update_time.ToDatetime() > before.update_time.ToDatetime()
    assert after.etag != before.etag


async def test_a_circle_becomes_a_polygon(house: House) -> None:
    await put(house, a_circle())

    after = await update(house, a_polygon("shop", (0, 0), (0, 1), (1, 1)), "polygon")

    assert after.WhichOneof("shape") == "polygon"


async def test_a_region_keeps_a_shape(house: House) -> None:
    await put(house, a_circle())

    with pytest.raises(InvalidArgument):
        await update(house, Region(name=NAME), "circle")


async def test_what_does_not_change_it_keeps_its_etag(house: House) -> None:
    before = await put(house, a_circle())

    assert await put(house, a_circle()) == before


async def test_an_etag_that_is_not_current_is_refused(house: House) -> None:
    old = await put(house, a_circle())
    await put(house, a_circle(radius_m=300))

    with pytest.raises(Aborted) as caught:
        await update(house, old)

    assert caught.value.reason == ErrorReason.ERROR_REASON_ETAG_MISMATCH


async def test_the_etag_of_a_region_that_was_removed_is_of_no_later_one(house: House) -> None:
    old = await put(house, a_circle())
    await delete(house)
    new = await put(house, a_circle())

    assert new.etag != old.etag
    with pytest.raises(Aborted):
        await update(house, old)


async def test_a_polygon_that_crosses_itself_is_refused_with_the_place(house: House) -> None:
    with pytest.raises(InvalidArgument, match=r"latitude 0\.5, longitude 0\.5"):
        await put(house, a_polygon("bow", (0, 0), (1, 1), (0, 1), (1, 0)))


async def test_regions_are_listed_page_by_page(house: House) -> None:
    for name in ("c", "a", "b"):
        await put(house, a_circle(name))
    request = pb.ListRegionsRequest(parent="workspaces/acme", page_size=2)

    first = await house.regions.ListRegions(request, None)
    request.page_token = first.next_page_token
    second = await house.regions.ListRegions(request, None)

    assert [one.name[-1] for one in (*first.regions, *second.regions)] == ["a", "b", "c"]
    assert not second.next_page_token


async def test_there_is_a_limit_of_regions(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "REGIONS_MAX", 2)
    await put(house, a_circle("a"))

    results = await asyncio.gather(
        *(put(house, a_circle(name)) for name in ("b", "c", "d")), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in results) == [
        "FailedPrecondition",
        "FailedPrecondition",
        "Region",
    ]


async def test_twenty_who_make_one_region_at_once_make_one(house: House) -> None:
    made = await asyncio.gather(*(put(house, a_circle()) for _ in range(20)))

    assert len({one.etag for one in made}) == 1


async def test_a_campaign_names_regions_that_are_there(house: House) -> None:
    await put(house, a_circle())

    for options in ({}, {"validate_only": True}):
        with pytest.raises(
            InvalidArgument, match=r"regions\[1\]: workspaces/acme/regions/gone does not exist"
        ):
            await create(house, enters("shop", "gone"), **options)


async def test_an_update_of_a_campaign_names_regions_that_are_there(house: House) -> None:
    await put(house, a_circle())
    made = await create(house, enters())
    made.trigger.CopyFrom(enters("gone").trigger)

    with pytest.raises(InvalidArgument):
        await house.campaigns.UpdateCampaign(campaign_pb.UpdateCampaignRequest(campaign=made), None)


@pytest.mark.parametrize(
    ("campaign", "told"),
    [
        (crossing(RegionCrossing.KIND_DWELL), "at least 1 minute"),
        (dwells(minutes=0.5), "at least 1 minute"),
        (
            crossing(
                RegionCrossing.KIND_ENTER, dwell=dwells().trigger.region.duration.ToTimedelta()
            ),
            "KIND_DWELL only",
        ),
    ],
)
async def test_only_who_stays_does_so_for_a_time(
    house: House, campaign: Campaign, told: str
) -> None:
    await put(house, a_circle())

    with pytest.raises(InvalidArgument, match=told):
        await create(house, campaign)


async def test_regions_are_of_the_campaigns_workspace(house: House) -> None:
    campaign = enters()
    campaign.trigger.region.regions[0] = "workspaces/other/regions/shop"

    with pytest.raises(InvalidArgument, match="workspace"):
        await create(house, campaign)


async def test_a_region_that_an_active_campaign_names_stays(house: House) -> None:
    await put(house, a_circle())
    await put(house, a_circle("shop-2"))
    made = await house.launch(enters("shop-2"), "sale")
    await delete(house)

    with pytest.raises(FailedPrecondition, match="campaigns/sale"):
        await delete(house, f"{NAME}-2")

    await house.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=made.name), None)
    await delete(house, f"{NAME}-2")


async def test_a_campaign_whose_region_went_is_not_launched(house: House) -> None:
    await put(house, a_circle())
    made = await create(house, enters())
    await delete(house)

    with pytest.raises(FailedPrecondition, match="does not exist any more"):
        await house.campaigns.LaunchCampaign(
            campaign_pb.LaunchCampaignRequest(name=made.name), None
        )


async def test_of_who_launches_and_who_removes_one_is_first(house: House) -> None:
    for number in range(10):
        name = f"r{number}"
        await put(house, a_circle(name))
        made = await house.campaigns.CreateCampaign(
            campaign_pb.CreateCampaignRequest(
                parent="workspaces/acme", campaign_id=name, campaign=enters(name)
            ),
            None,
        )

        results = await asyncio.gather(
            house.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=made.name), None),
            delete(house, f"workspaces/acme/regions/{name}"),
            return_exceptions=True,
        )

        assert [isinstance(one, FailedPrecondition) for one in results].count(True) == 1


async def test_a_region_that_moves_is_judged_by_where_it_is_now(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0), "in")
    await house.launch(leaves(reentry=0), "out")
    await house.append(a_report(SHOP))
    await house.work()

    await put(house, a_circle(at=CAFE))
    await house.append(a_report(SHOP), a_report(CAFE))
    await house.work()

    decided = [one.campaign.rpartition("/")[2] for one in await house.decided()]
    assert sorted(decided) == ["in", "in", "out"]


async def test_who_was_in_a_region_that_was_removed_is_not_in_a_new_one_of_its_name(
    house: House,
) -> None:
    await put(house, a_circle())
    made = await house.launch(enters(reentry=0), "in")
    await house.append(a_report(SHOP))
    await house.work()
    await house.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=made.name), None)
    await delete(house)
    await put(house, a_circle(at=AWAY))
    await house.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=made.name), None)
    await house.launch(leaves(reentry=0), "out")

    await house.append(a_report(CAFE), a_report(AWAY))
    await house.work()

    decided = [one.campaign.rpartition("/")[2] for one in await house.decided()]
    assert decided == ["in", "in"]


async def test_a_region_that_nobody_asks_about_costs_no_new_catalogue(house: House) -> None:
    before = await house.worker.catalogues.reload()

    await put(house, a_circle())
    await put(house, a_circle(radius_m=300))
    await delete(house)

    assert (await house.worker.catalogues.reload()).version == before.version


async def test_the_index_is_made_once_for_each_change(house: House) -> None:
    await put(house, a_circle())
    await put(house, a_circle("cafe", CAFE))
    await house.launch(enters("shop"), "one")
    first = (await house.worker.catalogues.reload()).places["acme"]
    await house.launch(leaves("shop"), "two")
    second = (await house.worker.catalogues.reload()).places["acme"]
    await house.launch(enters("cafe"), "three")
    third = (await house.worker.catalogues.reload()).places["acme"]

    assert first is second
    assert sorted(third.names.values()) == ["cafe", "shop"]
