"""Tells of one message to many: to everybody, to all followers, to the support team."""

import pytest
from beckon.profile.v1 import relation_service_pb2 as relation_pb
from beckon.profile.v1.relation_service_pb2_grpc import RelationServiceStub
from beckon.trigger.v1 import broadcast_service_pb2 as broadcast_pb
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK

from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

_BODY = '{"to":{{ profile.id | tojson }},"of":{{ event.type | tojson }}}'


async def launched(world: World, campaign: pb.Campaign, name: str) -> str:
    template = await world.template(_BODY, template_id=name)
    campaign.message.CopyFrom(pb.Message(channel=CHANNEL_WEBHOOK, template=template))
    created = await world.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(parent=world.parent, campaign_id=name, campaign=campaign)
    )
    await world.launch(created.name)
    return created.name


async def ended(world: World, campaign: str) -> broadcast_pb.Broadcast:
    """Return the one broadcast of a campaign when nobody is pending, its account closed all along."""
    stub = BroadcastServiceStub(world.mesh.channels["trigger"])

    async def look() -> broadcast_pb.Broadcast:
        listed = await stub.ListBroadcasts(broadcast_pb.ListBroadcastsRequest(parent=campaign))
        if not listed.broadcasts:
            return broadcast_pb.Broadcast()
        [one] = listed.broadcasts
        found = await stub.GetBroadcast(broadcast_pb.GetBroadcastRequest(name=one.name))
        account = found.account
        over = sum(account.suppressed.values()) + sum(account.failed.values()) + account.sent_count
        assert account.audience_count == over + account.pending_count
        return found

    return await eventually(look, lambda found: found.HasField("end_time"))


async def test_a_segment_hears_the_news_once_and_the_account_closes(world: World) -> None:
    segment = await world.segment("gold", 'profile.attributes.plan == "gold"')
    for number in range(12):
        await world.set(f"reader-{number:02}", plan="gold" if number < 10 else "free")
    await eventually(lambda: world.members(segment), lambda found: len(found) == 10)

    campaign = await launched(
        world,
        pb.Campaign(
            trigger=pb.Trigger(
                schedule=pb.Schedule(audience=pb.Audience(segment=segment)),
                filter='profile.id != "reader-03"',
            )
        ),
        "product-update",
    )

    found = await ended(world, campaign)
    told = await world.webhooks()
    assert sorted(one["to"] for one in told) == [
        f"reader-{number:02}" for number in range(10) if number != 3
    ]
    assert found.state == broadcast_pb.Broadcast.STATE_DONE
    assert (found.account.audience_count, found.account.sent_count) == (10, 9)
    assert dict(found.account.suppressed) == {"filter": 1}


def _edge(world: World, one: str, kind: str, other: str) -> relation_pb.Relation:
    edge = relation_pb.Relation(kind=kind, to=world.name("profiles", other))
    setattr(edge, "from", world.name("profiles", one))
    return edge


async def test_all_followers_hear_of_it_but_not_who_blocks_and_not_who_did_it(
    world: World,
) -> None:
    relations = RelationServiceStub(world.mesh.channels["profile"])
    author = world.name("profiles", "author")
    edges = [(f"fan-{number}", "follows", "author") for number in range(5)]
    edges += [("fan-4", "blocks", "author"), ("author", "follows", "author")]
    await relations.BatchPutRelations(
        relation_pb.BatchPutRelationsRequest(
            parent=world.parent,
            relations=[_edge(world, *one) for one in edges if one[0] != one[2]],
        )
    )
    recipient = pb.Recipient(relation=pb.Recipient.Relation(kind="follows"))
    campaign = await launched(
        world,
        pb.Campaign(trigger=pb.Trigger(event_type="review_posted"), recipient=recipient),
        "followers-activity",
    )

    await world.happens(world.event("review_posted", author.rpartition("/")[2]))

    found = await ended(world, campaign)
    told = await world.webhooks()
    assert sorted(one["to"] for one in told) == [f"fan-{number}" for number in range(4)]
    assert found.account.sent_count == 4


async def test_a_bad_mark_is_told_to_the_support_team_at_once(world: World) -> None:
    team = pb.Recipient.Team(
        profiles=[world.name("profiles", "sue"), world.name("profiles", "tom")]
    )
    await launched(
        world,
        pb.Campaign(
            trigger=pb.Trigger(
                event_type="survey_answered", filter="event.properties.score <= 6.0"
            ),
            recipient=pb.Recipient(team=team),
        ),
        "unhappy",
    )

    await world.happens(world.event("survey_answered", "ana", score=3))

    told = await eventually(world.webhooks, lambda found: len(found) == 2)
    assert sorted(one["to"] for one in told) == ["sue", "tom"]


async def test_a_service_asks_for_a_message_and_asking_again_sends_none(world: World) -> None:
    name = await launched(
        world,
        pb.Campaign(trigger=pb.Trigger(request=pb.Request())),
        "order-shipped",
    )
    item = pb.TriggerCampaignRequest.Item(
        event_id="order-17", profile=world.name("profiles", "ana")
    )
    request = pb.TriggerCampaignRequest(name=name, items=[item])

    first = await world.campaigns.TriggerCampaign(request)
    again = await world.campaigns.TriggerCampaign(request)

    assert [one.code for one in (*first.statuses, *again.statuses)] == [0, 0]
    told = await eventually(world.webhooks, lambda found: len(found) == 1)
    assert told == [{"to": "ana", "of": "request"}]
