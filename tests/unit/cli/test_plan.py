"""Makes sure that a plan says line by line what would change, and what somebody else changed."""

from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.type.v1.channel_pb2 import CHANNEL_EMAIL

from cli.manifests.apply import CREATED, UPDATED, Result, in_order, messages_of
from cli.manifests.decode import Document
from cli.manifests.kinds import CAMPAIGN
from cli.manifests.places import Place
from cli.manifests.plan import difference_of, drift_of
from tests.unit.cli.test_manifests import EXAMPLES

PLACE = Place(EXAMPLES, 1, 1)


def a_campaign(template: str = "cart", id_: str = "cart", **rest: object) -> Campaign:
    return Campaign(
        name=f"workspaces/main/campaigns/{id_}",
        trigger=pb.Trigger(event_type="cart_filled"),
        message=pb.Message(channel=CHANNEL_EMAIL, template=f"workspaces/main/templates/{template}"),
        **rest,  # type: ignore[arg-type]
    )


def document(campaign: Campaign, state: str = "") -> Document:
    id_ = campaign.name.rpartition("/")[2]
    return Document(kind=CAMPAIGN, id=id_, message=campaign, state=state, place=PLACE)


def version(number: int, template: str) -> pb.CampaignVersion:
    return pb.CampaignVersion(version=number, campaign=a_campaign(template), caller="ops")


def test_a_difference_is_shown_with_what_stands_around_it() -> None:
    current = a_campaign("old", state=Campaign.STATE_ACTIVE)
    result = Result(
        document=document(a_campaign("new")), action=UPDATED, state="active", current=current
    )

    assert list(difference_of(result))[-4:] == [
        " message:",
        "   channel: email",
        "-  template: old",
        "+  template: new",
    ]


def test_what_is_new_is_shown_whole_with_the_state_it_comes_to() -> None:
    result = Result(document=document(a_campaign()), action=CREATED, moved="launched")

    lines = difference_of(result)[1:]

    assert all(line.startswith("+") for line in lines)
    assert "+state: active" in lines


def test_a_move_alone_is_a_difference() -> None:
    current = a_campaign(state=Campaign.STATE_ACTIVE)
    result = Result(
        document=document(a_campaign()),
        action="unchanged",
        state="active",
        moved="paused",
        current=current,
    )

    assert {"-state: active", "+state: paused"} <= set(difference_of(result))


def test_what_was_changed_since_the_file_was_applied_is_drift() -> None:
    versions = [version(4, "x"), version(3, "y"), version(2, "cart"), version(1, "z")]

    drift = drift_of(a_campaign("cart"), versions)

    assert [one.version for one in drift] == [4, 3]


def test_a_file_that_was_never_applied_as_it_is_has_no_drift() -> None:
    assert list(drift_of(a_campaign("mine"), [version(2, "x"), version(1, "y")])) == []


def test_a_campaign_comes_after_the_one_whose_message_it_waits_for() -> None:
    second = a_campaign(id_="a-second")
    second.trigger.interaction.campaign = "workspaces/main/campaigns/first"
    third = a_campaign(id_="a-third")
    third.trigger.interaction.campaign = second.name
    first = a_campaign(id_="first")

    ordered = in_order([document(third), document(second), document(first)])

    assert [one.id for one in ordered] == ["first", "a-second", "a-third"]


def test_campaigns_about_each_other_are_applied_all_the_same() -> None:
    one, other = a_campaign(id_="one"), a_campaign(id_="other")
    one.trigger.interaction.campaign = other.name
    other.trigger.interaction.campaign = one.name

    assert {found.id for found in in_order([document(one), document(other)])} == {"one", "other"}


def test_every_message_of_a_campaign_is_looked_at() -> None:
    campaign = a_campaign(variants=[pb.Variant(id="gold", message=a_campaign("gold").message)])
    campaign.digest.message.CopyFrom(a_campaign("weekly").message)

    paths = {path: message.template.rpartition("/")[2] for path, message in messages_of(campaign)}

    assert paths == {
        "message": "cart",
        "variants[0].message": "gold",
        "digest.message": "weekly",
    }
