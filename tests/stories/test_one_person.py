"""Tells the stories of one person known well: by many names, by what she does, and forgotten when she asks."""

from datetime import timedelta

import grpc
import pytest
from beckon.profile.v1 import erasure_service_pb2 as erasure_pb
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import trait_service_pb2 as trait_pb
from beckon.trigger.v1.campaign_service_pb2 import ExceptionEvent
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.clock import SystemClock
from tests.stories.world import World, code_of
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOUGHT = ExceptionEvent(event_type="bought")
WHO = "{{ profile.id | tojson }}"


async def a_cart_campaign(world: World, *, delay: float) -> None:
    await world.campaign(
        "cart", "cart_filled", delay=delay, exceptions=[BOUGHT], template=await world.template(WHO)
    )


async def test_who_browsed_without_a_name_and_bought_by_name_hears_of_no_cart(
    world: World,
) -> None:
    await a_cart_campaign(world, delay=600)
    await world.happens(world.event("cart_filled", "anon-1"))
    await world.decided("anon-1", Decision.STATE_WAITING)
    await world.happens(world.event("bought", "ana"))
    await world.all_judged("ana")

    await world.happens(world.event("identify", "ana", anonymous_id="anon-1"))

    decision = await world.decided("ana", Decision.STATE_EXITED, "cart")
    assert decision.gates[-1].name == "exception"
    assert (await world.profile("anon-1")).member_ids == ["ana", "anon-1"]
    assert await world.told() == []


async def test_who_only_browsed_without_a_name_hears_of_the_cart_under_her_own(
    world: World,
) -> None:
    await a_cart_campaign(world, delay=6.0)
    await world.happens(world.event("cart_filled", "anon-1"))
    await world.decided("anon-1", Decision.STATE_WAITING)

    await world.happens(world.event("identify", "ana", anonymous_id="anon-1"))

    assert await eventually(world.told) == ["ana"]


async def test_a_merge_that_was_wrong_is_taken_back_with_all_it_brought(world: World) -> None:
    await world.happens(world.event("opened", "ana"), world.event("opened", "ben"))
    await world.all_judged("ana", "ben")
    merge = await world.identities.MergeProfiles(
        identity_pb.MergeProfilesRequest(
            **{"into": world.name("profiles", "ana"), "from": world.name("profiles", "ben")}
        )
    )
    united = await world.profile("ben")

    await world.identities.UnmergeProfiles(identity_pb.UnmergeProfilesRequest(name=merge.name))

    ana, ben = await world.profile("ana"), await world.profile("ben")
    assert (united.name, united.counters["opened"].count) == (ana.name, 2)
    assert (ana.counters["opened"].count, ben.counters["opened"].count) == (1, 1)
    assert ben.name == world.name("profiles", "ben")


async def test_who_refused_under_one_name_is_not_written_to_under_the_other(world: World) -> None:
    await world.subscribe("anon-1", yes=False)
    await world.happens(world.event("identify", "ana", anonymous_id="anon-1"))
    await world.all_judged("ana")
    await world.campaign("welcome", "signed_up")

    async def consent_has_arrived() -> bool:
        await world.happens(world.event("signed_up", "ana"))
        latest = (await world.decisions("ana", "welcome"))[:1]
        return any(one.gates[-1].name == "consent" for one in latest)

    assert await eventually(consent_has_arrived)


async def test_the_third_message_of_the_month_is_a_milestone_told_once(world: World) -> None:
    await world.trait(
        "messages_this_month",
        "message_written",
        aggregate=trait_pb.Trait.AGGREGATE_COUNT,
        calendar=trait_pb.Trait.CALENDAR_MONTH,
        compare=True,
    )
    await world.campaign(
        "milestone",
        "message_written",
        where="profile.traits.messages_this_month == 3",
        template=await world.template(
            "[{{ profile.traits.messages_this_month | int }}, {{ profile.id | tojson }}]"
        ),
    )

    # Now the campaign is known wherever events are judged: of those that came before, an answer
    # would tell how she stands after all of them.
    await world.all_judged("ana")
    await world.happens(*(world.event("message_written", "ana") for _ in range(4)))
    await world.all_judged("ana")

    assert await eventually(world.told) == [[3, "ana"]]


async def test_a_row_of_days_leads_to_a_survey(world: World) -> None:
    await world.trait("open_days", "opened", aggregate=trait_pb.Trait.AGGREGATE_STREAK)
    await world.campaign("survey", "opened", where="profile.traits.open_days == 7", once=True)
    day = timedelta(days=1).total_seconds()

    await world.happens(
        *(world.event("opened", "ana", ago=ago * day) for ago in range(6, 0, -1)),
        world.event("opened", "ana", event_id="seventh"),
        world.event("opened", "ben", event_id="first"),
    )
    await world.all_judged("ana", "ben")

    assert await eventually(world.told) == ["seventh"]


async def test_who_falls_silent_is_missed_until_she_is_back(world: World) -> None:
    await world.segment("silent", 'profile.last_seen_time < now - duration("3s")')
    await world.campaign(
        "win-back",
        "segment_entered",
        where='event.properties.segment == "silent"',
        template=await world.template(WHO),
    )

    await world.happens(world.event("opened", "ana"))

    assert await eventually(world.told) == ["ana"]
    name = world.name("segments", "silent")
    assert await eventually(lambda: world.members(name)) == ["ana"]
    await world.happens(world.event("opened", "ana"))
    assert await eventually(lambda: world.members(name), lambda found: not found) == []


async def test_a_trial_that_is_prolonged_ends_later(world: World) -> None:
    trial = 'timestamp(profile.attributes.trial_end) < now + duration("72h")'
    await world.segment("trial-ends", trial)
    await world.campaign(
        "trial",
        "segment_entered",
        where='event.properties.segment == "trial-ends"',
        template=await world.template(WHO),
    )
    soon = SystemClock().now() + timedelta(hours=72, seconds=3)

    await world.set("ana", trial_end=soon.isoformat())
    await world.set("ben", trial_end=soon.isoformat())
    await world.set("ben", trial_end=(soon + timedelta(days=30)).isoformat())

    assert await eventually(world.told) == ["ana"]
    assert await world.members(world.name("segments", "trial-ends")) == ["ana"]


async def test_an_attribute_written_before_an_event_is_judged_with_it(world: World) -> None:
    await world.campaign("gold", "opened", where='profile.attributes.plan == "gold"')

    for number in range(20):
        written = await world.set(f"p{number}", plan="gold")
        event = world.event("opened", f"p{number}", event_id=f"opened-{number}")
        event.consistency_token = written.consistency_token
        await world.happens(event)

    told = await eventually(world.told, lambda found: len(found) == 20)
    assert set(told) == {f"opened-{number}" for number in range(20)}


async def test_who_asks_to_be_forgotten_is_forgotten_everywhere(world: World) -> None:
    await a_cart_campaign(world, delay=3600)
    await world.campaign("welcome", "signed_up")
    await world.subscribe("ana")
    await world.happens(world.event("signed_up", "ana"), world.event("cart_filled", "ana"))
    await world.decided("ana", Decision.STATE_SENT, "welcome")
    await world.decided("ana", Decision.STATE_WAITING, "cart")
    ana = world.name("profiles", "ana")

    begun = await world.erasures.CreateErasure(erasure_pb.CreateErasureRequest(profile=ana))

    async def look() -> erasure_pb.Erasure:
        return await world.erasures.GetErasure(erasure_pb.GetErasureRequest(name=begun.name))

    receipt = await eventually(look, lambda one: one.state == erasure_pb.Erasure.STATE_COMPLETE)
    removed = {one.service: dict(one.counts) for one in receipt.removals}
    assert set(removed) == {"profile", "trigger", "throttle", "delivery"}
    assert removed["profile"]["history"] >= 2
    assert removed["trigger"]["enrollments"] == 2
    assert removed["throttle"]["subscriptions"] == 1
    assert removed["delivery"]["deliveries"] == 1
    assert await world.decisions("ana") == []
    gone = await code_of(world.profile("ana"))
    assert gone.code() == grpc.StatusCode.NOT_FOUND
    assert "ana" not in str(receipt)


async def test_what_the_forgotten_does_later_is_refused_and_kept_nowhere(world: World) -> None:
    await world.campaign("welcome", "signed_up")
    await world.happens(world.event("opened", "ana"))
    await world.all_judged("ana")
    ana = world.name("profiles", "ana")
    begun = await world.erasures.CreateErasure(erasure_pb.CreateErasureRequest(profile=ana))

    await world.happens(world.event("signed_up", "ana"))

    async def look() -> erasure_pb.Erasure:
        return await world.erasures.GetErasure(erasure_pb.GetErasureRequest(name=begun.name))

    await eventually(look, lambda one: one.refused_event_count > 0)
    assert await world.told() == []
    assert await world.quarantined() == []
    gone = await code_of(world.profile("ana"))
    assert gone.code() == grpc.StatusCode.NOT_FOUND
