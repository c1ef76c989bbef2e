"""Tells the stories that no plain event begins: a message ignored, a number reached, a silence."""

from datetime import timedelta
from typing import Any

import pytest
from beckon.profile.v1 import trait_service_pb2 as trait_pb
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK
from google.protobuf.duration_pb2 import Duration

from mesh.clock import SystemClock
from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def begun(world: World, campaign_id: str, trigger: pb.Trigger, **rest: Any) -> str:
    """Launch a campaign that sends who was told, and by which event."""
    body = f'["{campaign_id}", {{{{ profile.id | tojson }}}}]'
    template = await world.template(body, template_id=campaign_id)
    made = await world.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(
            parent=world.parent,
            campaign_id=campaign_id,
            campaign=pb.Campaign(
                trigger=trigger,
                message=pb.Message(channel=CHANNEL_WEBHOOK, template=template),
                **rest,
            ),
        )
    )
    await world.launch(made.name)
    return made.name


def after(first: str, event_type: str, *, ignored_for: float = 0) -> pb.Trigger:
    interaction = pb.Interaction(campaign=first, event_type=event_type)
    if ignored_for:
        interaction.ignored_for.FromTimedelta(timedelta(seconds=ignored_for))
    return pb.Trigger(interaction=interaction)


async def test_who_opened_the_message_gets_the_follow_up(world: World) -> None:
    first = await world.campaign("first", "signed_up")
    await begun(world, "more", after(first, "message_opened"))

    await world.happens(
        world.event("message_opened", "ana", delivery="d1", campaign="first"),
        world.event("message_opened", "ben", delivery="d2", campaign="another"),
    )
    await world.all_judged("ana", "ben")

    assert await eventually(world.told) == [["more", "ana"]]


async def test_who_ignored_the_message_gets_another_and_who_opened_it_does_not(
    world: World,
) -> None:
    first = await world.campaign("first", "signed_up")
    await begun(world, "again", after(first, "message_opened", ignored_for=3))

    await world.happens(world.event("signed_up", "ana"), world.event("signed_up", "ben"))
    waiting = await world.decided("ben", Decision.STATE_WAITING, "again")
    # It waits since the receipt, whose id names the message.
    delivery = waiting.event_id.partition(":")[2]
    opened = world.event("message_opened", "ben", delivery=delivery, campaign="first")
    await world.happens(opened)

    stopped = await world.decided("ben", Decision.STATE_EXITED, "again")
    assert stopped.gates[-1].name == "ignored"
    await eventually(world.told, lambda told: ["again", "ana"] in told)
    assert ["again", "ben"] not in await world.told()


async def test_the_third_message_of_the_month_is_a_milestone_once(world: World) -> None:
    await world.trait(
        "messages_this_month",
        "message_written",
        aggregate=trait_pb.Trait.AGGREGATE_COUNT,
        calendar=trait_pb.Trait.CALENDAR_MONTH,
    )
    milestone = pb.Milestone(trait="messages_this_month", value=3)
    await begun(world, "milestone", pb.Trigger(milestone=milestone))

    await world.happens(*(world.event("message_written", "ana") for _ in range(2)))
    await world.happens(*(world.event("message_written", "ana") for _ in range(3)))
    await world.happens(*(world.event("message_written", "ben") for _ in range(2)))

    assert await eventually(world.told) == [["milestone", "ana"]]


async def test_who_falls_silent_is_won_back_unless_she_is_back_herself(world: World) -> None:
    silence = pb.Inactivity(duration=Duration(seconds=3))
    await begun(world, "win-back", pb.Trigger(inactivity=silence), delay=Duration(seconds=3))
    back = pb.Inactivity(duration=Duration(seconds=3), returned=True)
    await begun(world, "welcome-back", pb.Trigger(inactivity=back))

    await world.happens(world.event("opened", "ana"), world.event("opened", "ben"))
    await world.decided("ben", Decision.STATE_WAITING)
    await world.happens(world.event("opened", "ben"))

    stopped = await world.decided("ben", Decision.STATE_EXITED)
    assert stopped.gates[-1].name in {"exception", "filter"}
    told = await eventually(world.told, lambda told: len(told) == 2)
    assert sorted(told) == [["welcome-back", "ben"], ["win-back", "ana"]]


async def test_three_days_before_the_trial_ends_however_often_it_is_prolonged(
    world: World,
) -> None:
    soon = SystemClock().now() + timedelta(hours=72, seconds=8)
    later = soon + timedelta(days=30)
    await world.set("before", trial_end=soon.isoformat())
    date = pb.DateAttribute(attribute="trial_end")
    date.offset.FromTimedelta(timedelta(hours=-72))

    await begun(world, "trial-ends", pb.Trigger(date=date))
    await world.set("ana", trial_end=later.isoformat())
    await world.set("ana", trial_end=soon.isoformat())
    await world.set("ben", trial_end=soon.isoformat())
    await world.decided("ben", Decision.STATE_WAITING)
    await world.set("ben", trial_end=later.isoformat())

    told = await eventually(world.told, lambda told: len(told) == 2)
    assert sorted(told) == [["trial-ends", "ana"], ["trial-ends", "before"]]
    moved = await world.decided("ben", Decision.STATE_EXITED)
    assert moved.gates[-1].name == "date"


async def test_a_new_tier_is_congratulated(world: World) -> None:
    await world.set("ana", tier="silver")
    change = pb.AttributeChange(attribute="tier")
    change.to.string_value = "gold"
    await begun(world, "congratulations", pb.Trigger(attribute=change))

    await world.set("ana", tier="silver")
    await world.set("ben", tier="silver")
    await world.happens(world.event("profile_updated", "ana", tier="gold"))

    assert await eventually(world.told) == [["congratulations", "ana"]]


async def test_each_first_step_comes_once_the_one_before_was_seen(world: World) -> None:
    welcome = await world.campaign("welcome", "session_started", once=True)
    tour = await begun(world, "tour", after(welcome, "message_opened"))
    await begun(world, "permission", after(tour, "message_opened"))

    for _ in range(2):
        await world.happens(world.event("session_started", "ana"))
    for step, following in (("welcome", "tour"), ("tour", "permission")):
        sent = await world.decided("ana", Decision.STATE_SENT, step)
        delivery = sent.delivery.rpartition("/")[2]
        await world.happens(
            world.event("message_opened", "ana", delivery=delivery, campaign=step),
            world.event("message_opened", "ben", delivery="other", campaign="something-else"),
        )
        await world.decided("ana", Decision.STATE_SENT, following)

    told = await eventually(world.told, lambda told: len(told) == 3)
    assert told[1:] == [["tour", "ana"], ["permission", "ana"]]
