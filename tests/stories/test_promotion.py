"""Tells the story of a promotion: by day where she is, held at night, over when it is over."""

from datetime import UTC, datetime, timedelta

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK
from google.protobuf.duration_pb2 import Duration

from mesh.clock import SystemClock
from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

# By POSIX their sign is the other way round: there it is six hours later.
DAY, NIGHT = "Etc/UTC", "Etc/GMT-6"


async def promotion(world: World, campaign_id: str, ends: datetime) -> None:
    """Launch a campaign for what is just now day in `DAY`, and not in `NIGHT`."""
    now = SystemClock().now().astimezone(UTC)
    open_, closed = (f"{now + timedelta(hours=by):%H:%M}" for by in (-1, 2))
    template = await world.template(f'["{campaign_id}", {{{{ profile.id | tojson }}}}]')
    campaign = pb.Campaign(
        trigger=pb.Trigger(event_type="product_viewed"),
        reentry_interval=Duration(),
        time_to_live=Duration(seconds=86400 * 3),
        send_window=pb.SendWindow(ranges=[pb.SendWindow.Range(start=open_, end=closed)]),
        message=pb.Message(channel=CHANNEL_WEBHOOK, template=template),
    )
    campaign.end_time.FromDatetime(ends)
    made = await world.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(parent=world.parent, campaign_id=campaign_id, campaign=campaign)
    )
    await world.launch(made.name)


async def test_a_promotion_goes_out_by_day_waits_at_night_and_dies_with_the_sale(
    world: World,
) -> None:
    now = SystemClock().now()
    await promotion(world, "sale", now + timedelta(days=3))
    await world.happens(
        world.event("profile_updated", "ana", time_zone=DAY),
        world.event("profile_updated", "ben", time_zone=NIGHT),
        world.event("product_viewed", "ana"),
        world.event("product_viewed", "ben"),
    )
    waiting = await world.decided("ben", Decision.STATE_WAITING, "sale")
    assert waiting.gates[-1].name == "send_window"
    assert await eventually(world.told) == [["sale", "ana"]]

    # One that ends before the hours of his zone begin.
    await promotion(world, "last-day", now + timedelta(hours=3))
    await world.happens(world.event("product_viewed", "ben"))
    over = await world.decided("ben", Decision.STATE_EXITED, "last-day")
    assert over.gates[-1].name == "send_window"

    # And one whose end has come.
    await promotion(world, "over", now - timedelta(seconds=1))
    await world.happens(world.event("product_viewed", "ana"))
    await world.all_judged("ana")
    [refused] = await world.decisions("ana", "over")
    assert [gate.name for gate in refused.gates if not gate.passed] == ["schedule"]
    assert ["over", "ana"] not in await world.told()
