"""Makes sure that campaigns are kept as the contract says, and that bad ones get a helpful error."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.type.v1.channel_pb2 import Channel

from mesh.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tests.integration.trigger.house import House, a_campaign

ACME = "workspaces/acme"
NAME = f"{ACME}/campaigns/cart"


async def create(
    house: House, campaign: Campaign, campaign_id: str = "cart", **rest: object
) -> Campaign:
    return await house.campaigns.CreateCampaign(
        pb.CreateCampaignRequest(
            parent=ACME,
            campaign_id=campaign_id,
            campaign=campaign,
            **rest,  # type: ignore[arg-type]
        ),
        None,
    )


async def get(house: House, name: str = NAME) -> Campaign:
    return await house.campaigns.GetCampaign(pb.GetCampaignRequest(name=name), None)


async def update(house: House, campaign: Campaign, *paths: str, **rest: object) -> Campaign:
    request = pb.UpdateCampaignRequest(campaign=campaign, **rest)  # type: ignore[arg-type]
    request.update_mask.paths.extend(paths)
    return await house.campaigns.UpdateCampaign(request, None)


async def test_a_campaign_is_kept_as_it_was_given(house: House) -> None:
    given = a_campaign(filter="event.properties.value > 1", delay=5, display_name="Cart")

    made = await create(house, given)

    found = await get(house)
    assert made == found
    assert (found.name, found.version, found.display_name) == (NAME, 1, "Cart")
    assert found.state == Campaign.STATE_DRAFT
    assert found.trigger == given.trigger
    assert found.etag
    assert not found.HasField("launch_time")


async def test_what_the_caller_may_not_set_is_ignored(house: House) -> None:
    made = await create(
        house, a_campaign(name="workspaces/x/campaigns/y", state=Campaign.STATE_ACTIVE, version=9)
    )

    assert (made.name, made.state, made.version) == (NAME, Campaign.STATE_DRAFT, 1)


async def test_a_missing_campaign_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        await get(house)


async def test_an_id_is_taken_once(house: House) -> None:
    await create(house, a_campaign())

    with pytest.raises(AlreadyExists) as caught:
        await create(house, a_campaign())

    assert caught.value.reason == ErrorReason.ERROR_REASON_RESOURCE_EXISTS


async def test_the_same_request_gets_the_first_answer(house: House) -> None:
    request_id = str(uuid4())
    first = await create(house, a_campaign(), request_id=request_id)

    again = await create(house, a_campaign(), request_id=request_id)

    assert again == first
    with pytest.raises(AlreadyExists) as caught:
        await create(house, a_campaign(delay=1), request_id=request_id)
    assert caught.value.reason == ErrorReason.ERROR_REASON_REQUEST_ID_REUSED


async def test_two_at_once_with_one_id_make_one(house: House) -> None:
    results = await asyncio.gather(
        *(create(house, a_campaign()) for _ in range(5)), return_exceptions=True
    )

    assert sum(isinstance(one, Campaign) for one in results) == 1
    assert sum(isinstance(one, AlreadyExists) for one in results) == 4


async def test_validating_writes_nothing(house: House) -> None:
    answer = await create(house, a_campaign(), validate_only=True)

    assert answer.name == NAME
    with pytest.raises(NotFound):
        await get(house)


async def test_an_update_changes_what_its_mask_names(house: House) -> None:
    await create(house, a_campaign(delay=5, display_name="Cart"))

    changed = await update(
        house, Campaign(name=NAME, display_name="Basket", critical=True), "display_name"
    )

    assert (changed.display_name, changed.critical, changed.version) == ("Basket", False, 2)
    assert changed.delay.seconds == 5


async def test_an_update_that_changes_nothing_counts_no_version(house: House) -> None:
    made = await create(house, a_campaign())

    same = await update(house, made, "*")

    assert same == made


async def test_an_update_does_not_move_the_state(house: House) -> None:
    await create(house, a_campaign())

    changed = await update(
        house, Campaign(name=NAME, state=Campaign.STATE_ACTIVE, display_name="x")
    )

    assert changed.state == Campaign.STATE_DRAFT


async def test_an_old_etag_is_refused(house: House) -> None:
    made = await create(house, a_campaign())
    await update(house, Campaign(name=NAME, display_name="x"))

    with pytest.raises(Aborted) as caught:
        await update(house, Campaign(name=NAME, display_name="y", etag=made.etag), "display_name")

    assert caught.value.reason == ErrorReason.ERROR_REASON_ETAG_MISMATCH


async def test_an_archived_campaign_is_not_changed(house: House) -> None:
    await create(house, a_campaign())
    await house.campaigns.ArchiveCampaign(pb.ArchiveCampaignRequest(name=NAME), None)

    with pytest.raises(FailedPrecondition):
        await update(house, Campaign(name=NAME, display_name="x"))


async def test_an_update_cannot_clear_what_is_required(house: House) -> None:
    await create(house, a_campaign())

    with pytest.raises(InvalidArgument, match=r"campaign\.message"):
        await update(house, Campaign(name=NAME), "message")


async def test_an_unknown_path_is_refused(house: House) -> None:
    await create(house, a_campaign())

    with pytest.raises(InvalidArgument, match="colour"):
        await update(house, Campaign(name=NAME), "colour")


async def test_campaigns_come_in_pages_by_id_without_the_archived(house: House) -> None:
    for name in ("e", "d", "c", "b", "a"):
        await create(house, a_campaign(), name)
    await house.campaigns.ArchiveCampaign(
        pb.ArchiveCampaignRequest(name=f"{ACME}/campaigns/c"), None
    )
    request = pb.ListCampaignsRequest(parent=ACME, page_size=2)
    first = await house.campaigns.ListCampaigns(request, None)
    request.page_token = first.next_page_token
    second = await house.campaigns.ListCampaigns(request, None)
    archived = await house.campaigns.ListCampaigns(
        pb.ListCampaignsRequest(parent=ACME, states=[Campaign.STATE_ARCHIVED]), None
    )

    pages = [[one.name[-1] for one in page.campaigns] for page in (first, second, archived)]
    assert pages == [["a", "b"], ["d", "e"], ["c"]]
    assert second.next_page_token == ""


def with_times(start: int, end: int) -> Campaign:
    campaign = a_campaign()
    campaign.start_time.seconds, campaign.end_time.seconds = start, end
    return campaign


def with_template(template: str) -> Campaign:
    campaign = a_campaign()
    campaign.message.template = template
    return campaign


def with_channel(channel: Channel.ValueType) -> Campaign:
    campaign = a_campaign()
    campaign.message.channel = channel
    return campaign


COSTLY = "event.properties.a.all(x, event.properties.a.all(y, x + y > 0))"


@pytest.mark.parametrize(
    ("make", "field", "reason"),
    [
        (lambda: a_campaign(filter="event.x >"), "campaign.trigger.filter", "EXPRESSION_INVALID"),
        (lambda: a_campaign(filter="'text'"), "campaign.trigger.filter", "EXPRESSION_INVALID"),
        (lambda: a_campaign(filter=COSTLY), "campaign.trigger.filter", "EXPRESSION_TOO_COSTLY"),
        (
            lambda: a_campaign(filter="trigger.id == ''"),
            "campaign.trigger.filter",
            "EXPRESSION_INVALID",
        ),
        (
            lambda: a_campaign(exceptions={"a": "", "b": "nobody == 1"}),
            "campaign.exceptions[1].filter",
            "EXPRESSION_INVALID",
        ),
        (lambda: with_times(20, 10), "campaign.end_time", "FIELD_INVALID"),
        (lambda: with_times(10, 10), "campaign.end_time", "FIELD_INVALID"),
        (lambda: with_times(10, 2**60), "campaign.end_time", "FIELD_INVALID"),
        (
            lambda: with_template("workspaces/other/templates/cart"),
            "campaign.message.template",
            "FIELD_INVALID",
        ),
        (lambda: with_channel(Channel.CHANNEL_PUSH), "campaign.message.channel", "FIELD_INVALID"),
        (lambda: with_channel(Channel.CHANNEL_SMS), "campaign.message.channel", "FIELD_INVALID"),
        (
            lambda: a_campaign(
                exceptions={"cart_filled": ""}, recipient=pb.Recipient(event_property="owner")
            ),
            "campaign.exceptions",
            "FIELD_INVALID",
        ),
    ],
)
async def test_a_campaign_that_cannot_be_judged_with_is_refused_by_its_field(
    house: House, make: Callable[[], Campaign], field: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await create(house, make())

    assert caught.value.reason == ErrorReason.Value(f"ERROR_REASON_{reason}")
    assert [one.field for one in caught.value.violations] == [field]


async def test_a_campaign_until_the_year_9999_is_fine(house: House) -> None:
    made = await create(house, with_times(0, 253402300799))

    assert made.end_time.seconds == 253402300799
