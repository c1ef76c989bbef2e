"""Campaigns that gather, and what comes of them."""

from datetime import timedelta
from typing import Any

import msgspec
from beckon.delivery.v1.delivery_service_pb2 import CreateDeliveryRequest
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.type.v1.channel_pb2 import Channel

from tests.integration.trigger.house import House, a_campaign, an_event

MINUTES = 60.0


def likes(
    *,
    fixed: float = 10 * MINUTES,
    sliding: tuple[float, float] | None = None,
    undo: str | None = "",
    exceptions: dict[str, str] | None = None,
    **digest: Any,
) -> Campaign:
    """Return the campaign that tells the owner of a photo who likes it, all together."""
    campaign = a_campaign(
        event_type="photo_liked",
        recipient=pb.Recipient(event_property="owner"),
        exceptions=exceptions,
        digest=pb.Digest(object_property="photo", **digest),
    )
    if sliding:
        pause, most = (timedelta(seconds=one) for one in sliding)
        campaign.digest.sliding.pause.FromTimedelta(pause)
        campaign.digest.sliding.most.FromTimedelta(most)
    elif not campaign.digest.HasField("calendar"):
        campaign.digest.fixed.FromTimedelta(timedelta(seconds=fixed))
    if undo is not None:
        campaign.digest.undo.CopyFrom(pb.Digest.Undo(event_type="photo_unliked", filter=undo))
    return campaign


def a_message(template: str = "weekly") -> pb.Message:
    """Return a message of its own for a digest."""
    return pb.Message(
        channel=Channel.CHANNEL_EMAIL, template=f"workspaces/acme/templates/{template}"
    )


def a_like(by: str, photo: str = "p1", *, owner: str | list[str] = "ana", **more: Any) -> Event:
    """Return the event that somebody likes a photo."""
    return an_event("photo_liked", profile=by, photo=photo, owner=owner, **more)


def an_unlike(by: str, photo: str = "p1", *, owner: str | list[str] = "ana", **more: Any) -> Event:
    """Return the event that takes a like back."""
    return an_event("photo_unliked", profile=by, photo=photo, owner=owner, **more)


def told(request: CreateDeliveryRequest) -> Any:
    """Return the digest that a message is rendered with."""
    return msgspec.json.decode(request.data_json)["digest"]


def ids(request: CreateDeliveryRequest) -> list[str]:
    """Return the ids of the events that a message tells."""
    return [item["event"]["id"] for item in told(request)["items"]]


async def all_told(house: House) -> list[str]:
    """Return the ids of all events that went out in digests, in no order."""
    return sorted(one for request in house.out for one in ids(request))
