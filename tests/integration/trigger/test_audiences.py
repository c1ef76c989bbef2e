"""Whom a message is for is something that profile can look for, or the caller hears of it."""

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Audience, Campaign, Recipient, Schedule, Trigger

from mesh.errors import FailedPrecondition, InvalidArgument, Unavailable
from tests.integration.trigger.house import House, a_campaign
from tests.integration.trigger.test_broadcasts import go, listed, people

_SCHEDULED = "campaign.trigger.schedule.audience.filter"
_RELATED = "campaign.recipient.relation.filter"
_BROKEN = "profile.attributes.("


def to_many(filter_: str) -> Campaign:
    campaign = a_campaign()
    audience = Audience(filter=filter_)
    campaign.trigger.CopyFrom(Trigger(schedule=Schedule(audience=audience)))
    return campaign


def to_related(filter_: str) -> Campaign:
    relation = Recipient.Relation(kind="follows", filter=filter_)
    return a_campaign(event_type="posted", recipient=Recipient(relation=relation))


def creating(campaign: Campaign) -> pb.CreateCampaignRequest:
    return pb.CreateCampaignRequest(parent="workspaces/acme", campaign_id="cart", campaign=campaign)


@pytest.mark.parametrize(
    ("campaign", "field"),
    [
        (to_many(_BROKEN), _SCHEDULED),
        (to_many("event.properties.total > 1.0"), _SCHEDULED),
        (to_many("relation.attributes.close"), _SCHEDULED),
        (to_related(_BROKEN), _RELATED),
        (to_related("event.properties.total > 1.0"), _RELATED),
    ],
)
async def test_a_filter_that_profile_cannot_look_for_is_refused_at_once(
    house: House, campaign: Campaign, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await house.campaigns.CreateCampaign(creating(campaign), None)

    assert [one.field for one in refused.value.violations] == [field]


async def test_what_segments_know_may_be_asked_of_an_audience(house: House) -> None:
    campaign = to_many('event_count("order_placed", duration("24h")) > 2')

    assert await house.campaigns.CreateCampaign(creating(campaign), None)
    assert house.memory.watches.streams == 0


async def test_with_profile_away_nothing_is_created(house: House) -> None:
    house.memory.faults.refuse("StreamAudience", times=9)
    campaign = to_related("relation.attributes.close == true")

    with pytest.raises(Unavailable):
        await house.campaigns.CreateCampaign(creating(campaign), None)


async def test_why_a_broadcast_stands_still_is_told(house: House) -> None:
    people(house, 2)
    house.memory.watches.missing.add("workspaces/acme/segments/gold")
    campaign = to_many("true")
    campaign.trigger.schedule.audience.segment = "workspaces/acme/segments/gold"
    await house.launch(campaign)

    await go(house)

    assert "segments/gold" in (await listed(house))[0].error
    assert not house.out


async def test_what_was_planned_for_last_year_does_not_go_out_at_once(house: House) -> None:
    people(house, 2)
    campaign = to_many("true")
    campaign.trigger.schedule.date_time = "2025-03-01T09:00"

    with pytest.raises(FailedPrecondition, match="no time to come"):
        await house.launch(campaign)
    await go(house)

    assert not house.out
    assert not await listed(house)
