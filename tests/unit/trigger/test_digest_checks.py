"""Makes sure that a digest that means nothing is refused with its field."""

from datetime import timedelta
from typing import Any

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import InvalidArgument
from services.trigger.convert.digests import check_digest


def gathering(**given: Any) -> Campaign:
    """Return a campaign whose digest means something, and what is given besides."""
    campaign = Campaign(trigger=pb.Trigger(event_type="liked"), **given)
    campaign.digest.fixed.FromTimedelta(timedelta(minutes=1))
    return campaign


def sliding(pause: float, most: float) -> Campaign:
    campaign = gathering()
    campaign.digest.sliding.pause.FromTimedelta(timedelta(seconds=pause))
    campaign.digest.sliding.most.FromTimedelta(timedelta(seconds=most))
    return campaign


def delayed() -> Campaign:
    campaign = gathering()
    campaign.delay.FromTimedelta(timedelta(seconds=1))
    return campaign


def without_window() -> Campaign:
    campaign = gathering()
    campaign.digest.ClearField("fixed")
    return campaign


def undone(by: str, **given: Any) -> Campaign:
    campaign = gathering(**given)
    campaign.digest.undo.event_type = by
    return campaign


@pytest.mark.parametrize(
    ("campaign", "field"),
    [
        (delayed(), "delay"),
        (gathering(wait=pb.Wait(local_time="09:00")), "wait"),
        (gathering(exceptions=[pb.ExceptionEvent(event_type="liked")]), "exceptions"),
        (sliding(120, 60), "digest.sliding.most"),
        (without_window(), "digest.window"),
        (undone("liked"), "digest.undo.event_type"),
        (
            undone(
                "unliked",
                recipient=pb.Recipient(relation=pb.Recipient.Relation(kind="follows")),
            ),
            "digest.undo",
        ),
    ],
)
def test_a_digest_that_means_nothing_is_refused(campaign: Campaign, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_digest(campaign)

    assert [one.field for one in refused.value.violations] == [f"campaign.{field}"]


@pytest.mark.parametrize("campaign", [gathering(), sliding(60, 60), undone("unliked"), Campaign()])
def test_a_digest_that_means_something_is_not(campaign: Campaign) -> None:
    check_digest(campaign)
