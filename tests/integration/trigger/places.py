"""Places, reports of locations, and campaigns that listen to borders."""

from datetime import datetime, timedelta
from typing import Any

from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import region_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign, RegionCrossing
from beckon.trigger.v1.region_service_pb2 import Region

from tests.integration.trigger.house import House, a_campaign, an_event

SHOP = (52.5200, 13.4050)
CAFE = (52.5300, 13.4050)
AWAY = (52.6000, 13.4050)


def a_circle(
    region: str = "shop", at: tuple[float, float] = SHOP, *, radius_m: float = 200
) -> Region:
    """Return a region around a place."""
    return Region(
        name=f"workspaces/acme/regions/{region}",
        circle=Region.Circle(
            center=Region.Point(latitude=at[0], longitude=at[1]), radius_m=radius_m
        ),
    )


def a_polygon(region: str, *corners: tuple[float, float]) -> Region:
    """Return a region by its corners, as (latitude, longitude)."""
    return Region(
        name=f"workspaces/acme/regions/{region}",
        polygon=Region.Polygon(
            points=[
                Region.Point(latitude=latitude, longitude=longitude)
                for latitude, longitude in corners
            ]
        ),
    )


async def put(house: House, region: Region) -> Region:
    """Keep a region."""
    return await house.regions.UpdateRegion(
        pb.UpdateRegionRequest(region=region, allow_missing=True), None
    )


def a_report(
    at: tuple[float, float],
    *,
    id: str = "",  # noqa: A002 — as in the message
    profile: str = "ana",
    when: datetime | None = None,
    **properties: Any,
) -> Event:
    """Return a report of where somebody is."""
    return an_event(
        "location_reported",
        id=id,
        profile=profile,
        at=when,
        latitude=at[0],
        longitude=at[1],
        **properties,
    )


def crossing(
    kind: "RegionCrossing.Kind.ValueType",
    *regions: str,
    dwell: timedelta | None = None,
    **rest: Any,
) -> Campaign:
    """Return a campaign that somebody's crossing a border begins."""
    campaign = a_campaign(**rest)
    begins = RegionCrossing(
        regions=[f"workspaces/acme/regions/{one}" for one in regions or ("shop",)], kind=kind
    )
    if dwell is not None:
        begins.duration.FromTimedelta(dwell)
    campaign.trigger.CopyFrom(campaign_pb.Trigger(region=begins, filter=campaign.trigger.filter))
    return campaign


def enters(*regions: str, **rest: Any) -> Campaign:
    """Return a campaign for who enters one of the regions."""
    return crossing(RegionCrossing.KIND_ENTER, *regions, **rest)


def leaves(*regions: str, **rest: Any) -> Campaign:
    """Return a campaign for who leaves one of the regions."""
    return crossing(RegionCrossing.KIND_EXIT, *regions, **rest)


def dwells(*regions: str, minutes: float = 10, **rest: Any) -> Campaign:
    """Return a campaign for who stays in one of the regions."""
    return crossing(RegionCrossing.KIND_DWELL, *regions, dwell=timedelta(minutes=minutes), **rest)
