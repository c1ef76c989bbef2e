"""Tells the story of the shop she walks up to: the sale there, once, and none once she is elsewhere."""

from datetime import timedelta

import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import region_service_pb2 as region_pb
from beckon.trigger.v1.campaign_service_pb2 import RegionCrossing
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.trigger.v1.region_service_pb2 import Region
from beckon.trigger.v1.region_service_pb2_grpc import RegionServiceStub
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK

from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOP, AWAY = (52.5219, 13.4132), (52.6, 13.4132)
BODY = '{"to":{{ profile.id | tojson }},"shop":{{ event.properties.region | tojson }}}'


async def a_shop(world: World) -> str:
    name = world.name("regions", "shop-mitte")
    region = Region(
        name=name,
        circle=Region.Circle(
            center=Region.Point(latitude=SHOP[0], longitude=SHOP[1]), radius_m=150
        ),
    )
    await RegionServiceStub(world.mesh.channels["trigger"]).UpdateRegion(
        region_pb.UpdateRegionRequest(region=region, allow_missing=True)
    )
    return name


async def a_sale(
    world: World, kind: "RegionCrossing.Kind.ValueType", *, dwell: timedelta | None = None
) -> None:
    begins = RegionCrossing(regions=[await a_shop(world)], kind=kind)
    if dwell is not None:
        begins.duration.FromTimedelta(dwell)
    created = await world.campaigns.CreateCampaign(
        campaign_pb.CreateCampaignRequest(
            parent=world.parent,
            campaign_id="sale",
            campaign=campaign_pb.Campaign(
                trigger=campaign_pb.Trigger(region=begins),
                message=campaign_pb.Message(
                    channel=CHANNEL_WEBHOOK, template=await world.template(BODY)
                ),
            ),
        )
    )
    await world.launch(created.name)


def a_report(world: World, at: tuple[float, float], *, ago: float = 0.0) -> Event:
    return world.event("location_reported", "ana", latitude=at[0], longitude=at[1], ago=ago)


async def test_who_walks_up_to_the_shop_hears_of_its_sale_once(world: World) -> None:
    await a_sale(world, RegionCrossing.KIND_ENTER)

    await world.happens(a_report(world, AWAY, ago=0.3))
    await world.happens(a_report(world, SHOP, ago=0.2))
    await world.happens(a_report(world, SHOP, ago=0.1), a_report(world, AWAY))

    assert await eventually(world.webhooks) == [{"to": "ana", "shop": "shop-mitte"}]
    assert len(await world.decisions("ana")) == 1


async def test_who_walks_on_has_not_stayed(world: World) -> None:
    await a_sale(world, RegionCrossing.KIND_DWELL, dwell=timedelta(minutes=10))

    await world.happens(a_report(world, SHOP, ago=0.2))
    await world.happens(a_report(world, AWAY))

    decision = await world.decided("ana", Decision.STATE_EXITED)
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("dwell", False)
    assert await world.told() == []
