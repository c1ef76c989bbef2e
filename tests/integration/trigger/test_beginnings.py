"""Makes sure of every beginning that is no plain event, with profile in memory."""

from datetime import timedelta
from typing import Any

import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision
from google.protobuf.struct_pb2 import Value

from mesh.errors import InvalidArgument, Unavailable
from tests.integration.trigger.house import NOW, House, a_campaign, an_event

LAST = "workspaces/acme/campaigns/first"


def beginning(**kind: Any) -> pb.Trigger:
    return pb.Trigger(**kind)


def campaign(trigger: pb.Trigger, **rest: Any) -> pb.Campaign:
    made = a_campaign(**rest)
    made.trigger.CopyFrom(trigger)
    return made


def attribute(key: str, *, of: str | None = None, to: str | None = None) -> pb.Trigger:
    change = pb.AttributeChange(attribute=key)
    if of is not None:
        getattr(change, "from").CopyFrom(Value(string_value=of))
    if to is not None:
        change.to.CopyFrom(Value(string_value=to))
    return pb.Trigger(attribute=change)


def silence(seconds: float, *, event_type: str = "", returned: bool = False) -> pb.Trigger:
    found = pb.Inactivity(event_type=event_type, returned=returned)
    found.duration.FromTimedelta(timedelta(seconds=seconds))
    return pb.Trigger(inactivity=found)


def ignored(event_type: str, seconds: float) -> pb.Trigger:
    found = pb.Interaction(campaign=LAST, event_type=event_type)
    found.ignored_for.FromTimedelta(timedelta(seconds=seconds))
    return pb.Trigger(interaction=found)


def opened(**rest: Any) -> pb.Trigger:
    return pb.Trigger(interaction=pb.Interaction(campaign=LAST, event_type="message_opened"))


def condition_of(house: House) -> str:
    [found] = house.memory.watches.watched()[1]
    return found


def changed(key: str, *, before: object = None, after: object = None, **rest: Any) -> Event:
    values: dict[str, Any] = {
        name: one for name, one in (("from", before), ("to", after)) if one is not None
    }
    return an_event("attribute_changed", attribute=key, **values, **rest)


def last_gate(decision: Decision) -> tuple[str, bool]:
    return decision.gates[-1].name, decision.gates[-1].passed


async def test_a_change_of_an_attribute_begins(house: House) -> None:
    await house.launch(campaign(attribute("tier", of="silver", to="gold")))

    await house.append(changed("tier", before="silver", after="gold", id="up"))
    await house.append(changed("plan", before="silver", after="gold", id="other"))
    await house.append(changed("tier", before="free", after="gold", id="not", profile="bea"))
    await house.work()

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/ana"]
    assert house.memory.watches.watched() == (["tier"], [])
    assert await house.decided(event_id="other") == []
    assert last_gate(await house.decision("not", "bea")) == ("filter", False)


async def test_going_into_a_segment_begins_and_leaving_another_does(house: House) -> None:
    vip = pb.SegmentChange(segment="workspaces/acme/segments/vip")
    left = pb.SegmentChange(segment="workspaces/acme/segments/vip", exited=True)
    await house.launch(campaign(pb.Trigger(segment=vip)), "in")
    await house.launch(campaign(pb.Trigger(segment=left)), "out")

    await house.append(an_event("segment_entered", segment="vip"))
    await house.append(an_event("segment_entered", segment="shy", profile="bea"))
    await house.append(an_event("segment_exited", segment="vip", profile="bea"))
    await house.work()

    assert [one.profile.rpartition("/")[2] for one in house.out] == ["ana", "bea"]


async def test_a_segment_of_another_workspace_is_refused(house: House) -> None:
    other = pb.SegmentChange(segment="workspaces/bolt/segments/vip")
    with pytest.raises(InvalidArgument):
        await house.launch(campaign(pb.Trigger(segment=other)))


async def test_a_silence_begins_and_her_return_stops_what_waits(house: House) -> None:
    await house.launch(campaign(silence(3600), delay=600))
    await house.append(an_event("app_opened"))
    await house.work()
    house.clock.advance(hours=1)
    await house.append(an_event("condition_entered", condition=condition_of(house), id="silent"))
    await house.work()
    house.clock.advance(minutes=5)

    await house.append(an_event("condition_exited", condition=condition_of(house)))
    await house.work()

    decision = await house.decision("silent")
    assert (decision.state, last_gate(decision)) == (
        Decision.STATE_EXITED,
        ("exception", False),
    )


async def test_who_is_back_before_the_log_says_so_gets_nothing(house: House) -> None:
    await house.launch(campaign(silence(3600), delay=600))
    await house.append(an_event("app_opened"))
    await house.work()
    house.clock.advance(hours=1)
    await house.append(an_event("condition_entered", condition=condition_of(house), id="silent"))
    await house.work()
    await house.append(an_event("app_opened"))
    await house.work()

    house.clock.advance(minutes=10)
    await house.work()

    assert last_gate(await house.decision("silent")) == ("filter", False)
    assert house.out == []


async def test_a_silence_that_lasts_is_told(house: House) -> None:
    await house.launch(campaign(silence(3600, event_type="order_placed")))
    await house.append(an_event("order_placed"))
    await house.work()
    house.clock.advance(hours=1)
    await house.append(an_event("app_opened"))

    await house.append(an_event("condition_entered", condition=condition_of(house)))
    await house.work()

    assert len(house.out) == 1


async def test_a_return_begins(house: House) -> None:
    await house.launch(campaign(silence(3600, returned=True)))

    await house.append(an_event("app_opened"))
    await house.append(an_event("condition_exited", condition=condition_of(house)))
    await house.append(
        an_event("condition_exited", condition=condition_of(house), profile="bea", id="late")
    )
    await house.work()

    assert [one.profile.rpartition("/")[2] for one in house.out] == ["ana"]
    assert last_gate(await house.decision("late", "bea")) == ("filter", False)


async def test_a_milestone_begins_with_its_own_condition_only(house: House) -> None:
    await house.launch(campaign(pb.Trigger(milestone=pb.Milestone(trait="sent", value=100))))

    await house.append(an_event("condition_entered", condition="other:1", id="other"))
    await house.append(an_event("condition_entered", condition=condition_of(house)))
    await house.work()

    assert len(house.out) == 1
    assert await house.decided(event_id="other") == []
    watched = house.memory.watches.set["workspaces/acme"]
    assert [one.filter for one in watched.conditions] == ["profile.traits.sent >= 100.0"]


async def test_an_opened_message_begins_the_next(house: House) -> None:
    await house.launch(campaign(opened()))

    await house.append(an_event("message_opened", delivery="d1", campaign="first"))
    await house.append(an_event("message_opened", delivery="d2", campaign="other", profile="bea"))
    await house.work()

    assert [one.profile.rpartition("/")[2] for one in house.out] == ["ana"]


async def test_an_ignored_message_begins_the_next_when_its_time_is_over(house: House) -> None:
    await house.launch(campaign(ignored("message_opened", 3600)))
    await house.append(an_event("message_sent", delivery="d1", campaign="first"))
    await house.work()
    before = list(house.out)
    # Of another message.
    await house.append(an_event("message_opened", delivery="d0", campaign="first"))

    house.clock.advance(hours=1)
    await house.work()

    assert before == []
    assert len(house.out) == 1


@pytest.mark.parametrize("early", [False, True])
async def test_a_message_that_was_opened_was_not_ignored(house: House, early: bool) -> None:
    await house.launch(campaign(ignored("message_opened", 3600)))
    sent = an_event("message_sent", delivery="d1", campaign="first", at=NOW, id="sent")
    seen = an_event(
        "message_opened", delivery="d1", campaign="first", at=NOW + timedelta(seconds=1)
    )
    house.clock.advance(seconds=2)
    for event in (seen, sent) if early else (sent, seen):
        await house.append(event)
        await house.work()

    house.clock.advance(hours=1)
    await house.work()

    assert house.out == []
    assert last_gate(await house.decision("sent")) == ("ignored", False)


async def test_who_opened_one_message_may_ignore_the_next(house: House) -> None:
    await house.launch(campaign(ignored("message_opened", 3600)))
    await house.append(an_event("message_sent", delivery="d1", campaign="first"))
    await house.append(an_event("message_opened", delivery="d1", campaign="first"))
    await house.work()

    await house.append(an_event("message_sent", delivery="d2", campaign="first"))
    await house.work()
    house.clock.advance(hours=1)
    await house.work()

    assert len(house.out) == 1


# What profile is told to watch.


async def test_profile_watches_before_a_campaign_is_in_force(house: House) -> None:
    house.memory.faults.refuse("SetWatches", times=10)

    with pytest.raises(Unavailable):
        await house.launch(campaign(attribute("tier")))

    found = await house.campaigns.GetCampaign(
        pb.GetCampaignRequest(name="workspaces/acme/campaigns/cart"), None
    )
    assert found.state == pb.Campaign.STATE_DRAFT


async def test_campaigns_of_plain_events_need_nobody_to_watch(house: House) -> None:
    house.memory.faults.refuse("SetWatches", times=10)

    await house.launch(a_campaign())

    assert house.memory.faults.calls["SetWatches"] == 0


async def test_all_campaigns_of_the_workspace_are_watched_for(house: House) -> None:
    await house.launch(campaign(attribute("tier")), "one")
    await house.launch(campaign(attribute("plan")), "two")

    assert house.memory.watches.watched() == (["plan", "tier"], [])


async def test_what_nobody_needs_any_more_is_given_up_by_the_sweep(house: House) -> None:
    made = await house.launch(campaign(attribute("tier")))
    await house.campaigns.ArchiveCampaign(pb.ArchiveCampaignRequest(name=made.name), None)

    await house.worker.watches.run_once()

    assert house.memory.watches.watched() == ([], [])


async def test_what_profile_has_lost_it_is_told_again(house: House) -> None:
    await house.launch(campaign(attribute("tier")))
    house.memory.watches.set.clear()

    await house.worker.watches.run_once()

    assert house.memory.watches.watched() == (["tier"], [])
    await house.worker.watches.run_once()
    assert house.memory.faults.calls["SetWatches"] == 2


async def test_a_launch_that_died_on_the_way_is_made_good_by_the_next(house: House) -> None:
    # The answer is lost: profile watches, and the campaign is a draft still.
    house.memory.faults.lose_reply("SetWatches", times=10)
    with pytest.raises(Unavailable):
        await house.launch(campaign(attribute("tier")), "dead")
    house.memory.faults.clear()
    left_over = house.memory.watches.watched()

    await house.launch(campaign(attribute("plan")), "alive")

    assert left_over == (["tier"], [])
    assert house.memory.watches.watched() == (["plan"], [])


async def test_a_profile_that_is_ahead_is_overtaken(house: House) -> None:
    await house.launch(campaign(attribute("tier")), "one")
    house.memory.watches.set["workspaces/acme"].version = 1_000_000

    await house.launch(campaign(attribute("plan")), "two")

    assert house.memory.watches.watched() == (["plan", "tier"], [])
