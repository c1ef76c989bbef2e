"""Tells the stories of what is told together: the likes of a photo, and the news of a week in one mail."""

from datetime import timedelta

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import CHANNEL_EMAIL, CHANNEL_WEBHOOK

from mesh.clock import SystemClock
from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIKES = (
    '{"first":{{ digest.groups[0].actors[0].id | tojson }},'
    '"others":{{ digest.groups[0].other_count }},"count":{{ digest.count }}}'
)
NEWS = "{% for item in digest.items %}* {{ item.event.properties.what }}\n{% endfor %}"
# A window is a minute at least, and a clock shows minutes.
PATIENCE = 120.0


async def create(world: World, campaign_id: str, campaign: pb.Campaign) -> None:
    """Create a campaign and launch it."""
    made = await world.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(parent=world.parent, campaign_id=campaign_id, campaign=campaign)
    )
    await world.launch(made.name)


async def likes(world: World) -> None:
    campaign = pb.Campaign(
        trigger=pb.Trigger(event_type="photo_liked"),
        recipient=pb.Recipient(event_property="owner"),
        message=pb.Message(channel=CHANNEL_WEBHOOK, template=await world.template(LIKES)),
        digest=pb.Digest(object_property="photo", undo=pb.Digest.Undo(event_type="photo_unliked")),
    )
    campaign.digest.sliding.pause.FromTimedelta(timedelta(minutes=1))
    campaign.digest.sliding.most.FromTimedelta(timedelta(minutes=5))
    await create(world, "likes", campaign)


async def weekly(world: World, local_time: str) -> None:
    news = await world.mail_template("{{ digest.count }} news", NEWS, template_id="news")
    at_once = await world.template(
        '{"now":{{ event.properties.what | tojson }}}', template_id="at-once"
    )
    await create(
        world,
        "weekly",
        pb.Campaign(
            trigger=pb.Trigger(event_type="connection_did"),
            recipient=pb.Recipient(event_property="connection"),
            message=pb.Message(channel=CHANNEL_WEBHOOK, template=at_once),
            digest=pb.Digest(
                calendar=pb.Digest.Calendar(local_time=local_time),
                urgent_filter='event.properties.sort == "comment"',
                message=pb.Message(channel=CHANNEL_EMAIL, template=news),
            ),
        ),
    )


@pytest.mark.timeout(300)
async def test_a_photo_is_liked_and_a_week_goes_by(world: World) -> None:
    address = f"ana@{world.workspace}.example"
    due = SystemClock().now() + timedelta(seconds=75)
    await likes(world)
    await weekly(world, f"{due:%H:%M}")
    await world.subscribe("ana", email=True)
    await world.happens(world.event("profile_updated", "ana", email=address, time_zone="UTC"))

    await world.happens(
        *(world.event("photo_liked", f"fan{n}", owner="ana", photo="p") for n in range(14)),
        world.event("photo_liked", "bob", owner="ana", photo="p"),
        world.event("connection_did", "eve", connection="ana", sort="job", what="a new job"),
        world.event("connection_did", "joe", connection="ana", sort="job", what="a new title"),
        world.event("connection_did", "eve", connection="ana", sort="comment", what="so true"),
    )
    await world.happens(world.event("photo_unliked", "bob", owner="ana", photo="p"))

    told = await eventually(world.told, lambda all_: len(all_) == 2, limit=PATIENCE)
    [liked] = [one for one in told if "count" in one]
    [urgent] = [one for one in told if "now" in one]
    [mail] = await eventually(lambda: world.mails(address), limit=PATIENCE)
    assert (liked["count"], liked["others"]) == (14, 13)
    assert urgent == {"now": "so true"}
    assert mail.subject == "2 news"
    sent = await world.decided("ana", Decision.STATE_SENT, "likes")
    assert sent.item_count == 14
