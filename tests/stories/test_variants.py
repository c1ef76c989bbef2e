"""Tells of who reads which text, and of which does better: members, guests, and who gets nothing."""

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK
from google.protobuf.duration_pb2 import Duration

from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def a_text(world: World, name: str) -> pb.Message:
    """Return a message that says its own name, and to whom it is."""
    body = f'{{"to":{{{{ profile.id | tojson }}}},"text":"{name}"}}'
    template = await world.template(body, template_id=name)
    return pb.Message(channel=CHANNEL_WEBHOOK, template=template)


async def launched(world: World, campaign: pb.Campaign, name: str) -> str:
    created = await world.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(parent=world.parent, campaign_id=name, campaign=campaign)
    )
    await world.launch(created.name)
    return created.name


async def test_members_guests_and_who_is_unknown_each_read_their_own(world: World) -> None:
    await launched(
        world,
        pb.Campaign(
            trigger=pb.Trigger(event_type="wine_viewed"),
            message=await a_text(world, "plain"),
            variants=[
                pb.Variant(
                    id=name,
                    filter=f"profile.attributes.member == {word}",
                    message=await a_text(world, name),
                )
                for name, word in (("member", "true"), ("guest", "false"))
            ],
        ),
        "tasting",
    )
    await world.set("ana", member=True)
    await world.set("eve", member=False)

    for who in ("ana", "eve", "stranger"):
        await world.happens(world.event("wine_viewed", who))

    told = await eventually(world.webhooks, lambda found: len(found) == 3)
    assert {one["to"]: one["text"] for one in told} == {
        "ana": "member",
        "eve": "guest",
        "stranger": "plain",
    }
    decision = await world.decided("stranger", Decision.STATE_SENT)
    assert decision.variant == "default"


async def test_each_keeps_her_arm_and_whoever_buys_counts_for_it(world: World) -> None:
    people = [f"reader-{number}" for number in range(30)]
    name = await launched(
        world,
        pb.Campaign(
            trigger=pb.Trigger(event_type="letter_ordered"),
            message=await a_text(world, "none"),
            variants=[pb.Variant(id="picture", weight=1, message=await a_text(world, "picture"))],
            default_weight=1,
            holdout_weight=1,
            reentry_interval=Duration(),
            goals=[pb.Goal(id="bought", event_type="order_placed", value_property="total")],
        ),
        "letter",
    )

    for _ in range(2):
        await world.happens(*(world.event("letter_ordered", who) for who in people))
    await world.happens(*(world.event("order_placed", who, total=2.5) for who in people))

    async def report() -> pb.CampaignReport:
        return await world.campaigns.GetCampaignReport(pb.GetCampaignReportRequest(name=name))

    found = await eventually(
        report,
        lambda one: (
            sum(arm.goals[0].passage_count for arm in one.arms) == 60
            and not any(arm.waiting_count for arm in one.arms)
        ),
    )
    assert [arm.variant for arm in found.arms] == ["default", "picture", "holdout"]
    assert sum(arm.profile_count for arm in found.arms) == len(people)
    for arm in found.arms:
        # Twice each, in the same arm, and all of them bought.
        assert arm.profile_count > 0
        assert arm.entry_count == 2 * arm.profile_count
        assert arm.goals[0].profile_count == arm.profile_count
        assert arm.goals[0].value == 5.0 * arm.profile_count
    default, picture, held_out = found.arms
    assert (held_out.sent_count, dict(held_out.exits)) == (0, {"holdout": held_out.entry_count})
    told = await eventually(
        world.webhooks,
        lambda all_: len(all_) == default.entry_count + picture.entry_count,
    )
    assert sum(one["text"] == "picture" for one in told) == picture.entry_count
    assert not found.ratio_alarm
    assert [one.winner for one in found.verdicts] == [""]
