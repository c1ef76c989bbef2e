"""What a caller asks for begins once an id, each by itself, by the same gates."""

import asyncio
from typing import Any

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign, Request, Trigger
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from mesh.errors import FailedPrecondition, InvalidArgument
from tests.integration.trigger.house import House, a_campaign

_Item = pb.TriggerCampaignRequest.Item


def by_request(**rest: Any) -> Campaign:
    campaign = a_campaign(**rest)
    campaign.trigger.CopyFrom(Trigger(request=Request(), filter=campaign.trigger.filter))
    return campaign


def an_item(event_id: str = "o-1", profile: str = "ana", **properties: Any) -> _Item:
    item = _Item(event_id=event_id, profile=f"workspaces/acme/profiles/{profile}")
    item.properties.update(properties)
    return item


async def ask(house: House, *items: _Item) -> list[Status]:
    request = pb.TriggerCampaignRequest(name="workspaces/acme/campaigns/cart", items=items)
    return list((await house.campaigns.TriggerCampaign(request, None)).statuses)


async def test_each_item_begins_with_its_payload(house: House) -> None:
    await house.launch(by_request(reentry=0))

    statuses = await ask(house, an_item("o-1", total=12), an_item("o-2", "ben"))
    await house.work()

    assert [one.code for one in statuses] == [Code.OK, Code.OK]
    assert len(house.out) == 2
    assert b'"total":12' in house.out[0].data_json
    assert (await house.decision("o-1")).event_id == "o-1"


async def test_the_same_again_is_answered_again_and_sends_nothing(house: House) -> None:
    await house.launch(by_request(filter="event.properties.total > 10.0", reentry=0))
    items = [an_item("o-1", total=12), an_item("o-2", total=3)]

    first = await ask(house, *items)
    second = await ask(house, *items)
    await house.work()

    assert first == second
    assert [one.code for one in first] == [Code.OK, Code.FAILED_PRECONDITION]
    assert "filter" in first[1].message
    assert len(house.out) == 1
    assert len(await house.decided()) == 2


async def test_another_content_under_an_id_is_refused_and_the_first_stands(house: House) -> None:
    await house.launch(by_request(reentry=0))
    await ask(house, an_item("o-1", total=12))

    [status] = await ask(house, an_item("o-1", total=13))
    both = await ask(house, an_item("o-9", total=1), an_item("o-9", total=2))
    await house.work()

    assert status.code == Code.ALREADY_EXISTS
    assert [one.code for one in both] == [Code.OK, Code.ALREADY_EXISTS]
    assert len(house.out) == 2


async def test_many_callers_at_once_begin_one_passage(house: House) -> None:
    await house.launch(by_request(reentry=0))

    answers = await asyncio.gather(*(ask(house, an_item("o-1", total=12)) for _ in range(8)))
    await house.work()

    assert all(one.code == Code.OK for [one] in answers)
    assert len(house.out) == 1


async def test_a_thousand_items_are_one_call(house: House) -> None:
    await house.launch(by_request(reentry=0))

    statuses = await ask(house, *(an_item(f"o-{n}", f"p{n}") for n in range(1000)))

    assert {one.code for one in statuses} == {Code.OK}
    assert len(statuses) == 1000


async def test_a_paused_campaign_refuses_each_with_the_gate(house: House) -> None:
    made = await house.launch(by_request())
    await house.campaigns.PauseCampaign(pb.PauseCampaignRequest(name=made.name), None)

    [status] = await ask(house, an_item())

    assert status.code == Code.FAILED_PRECONDITION
    assert "campaign_active" in status.message


async def test_a_campaign_that_begins_otherwise_takes_no_requests(house: House) -> None:
    await house.launch(a_campaign())

    with pytest.raises(FailedPrecondition, match="by request"):
        await ask(house, an_item())


async def test_somebody_of_another_workspace_is_out_of_reach(house: House) -> None:
    await house.launch(by_request())
    item = _Item(event_id="x", profile="workspaces/other/profiles/ana")

    with pytest.raises(InvalidArgument, match="workspace"):
        await ask(house, item)


async def test_what_no_text_of_a_database_may_hold_is_refused(house: House) -> None:
    await house.launch(by_request(reentry_property="order"))

    with pytest.raises(InvalidArgument, match="U\\+0000"):
        await ask(house, an_item("o-1", order="a\0b"))
