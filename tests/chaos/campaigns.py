"""What the crash test asks of the mesh: templates, campaigns and a cap, by the public API."""

from collections.abc import Mapping
from typing import Any

import grpc.aio
from beckon.delivery.v1 import template_service_pb2 as template_pb
from beckon.delivery.v1 import template_service_pb2_grpc as template_rpc
from beckon.throttle.v1 import frequency_cap_service_pb2 as cap_pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as cap_rpc
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as rpc
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK
from google.protobuf.duration_pb2 import Duration

from tests.chaos.cast import CAP, CAPPED, DELAY, FIXED, MAIN, MOST, PAUSE, VALUE_OVER, WORKSPACES
from tests.chaos.crowd import CROWD, LAUNCH, NEWS

_ABOUT = (
    '"campaign":{{ campaign.id | tojson }},"profile":{{ profile.id | tojson }},'
    '"delivery":{{ delivery.id | tojson }}'
)
_ITEMS = (
    "{% for item in digest.items %}{{ item.event.id | tojson }}"
    '{{ "," if not loop.last }}{% endfor %}'
)
_BODIES = {
    "told": f'{{"events":[{{{{ event.id | tojson }}}}],{_ABOUT}}}',
    "gathered": f'{{"events":[{_ITEMS}],"count":{{{{ digest.count }}}},{_ABOUT}}}',
    "news": f'{{"events":["{LAUNCH}"],{_ABOUT}}}',
}
_ITEMS_MAX = 200
_AGAIN = Duration()
_WAIT = Duration(seconds=int(DELAY))
_PAID = "event.properties.order == trigger.properties.order"
_GOLD = f'event.properties.value > {VALUE_OVER} && profile.attributes.tier == "gold"'


def campaigns(workspace: str) -> Mapping[str, pb.Campaign]:
    """Return the campaigns of a workspace by id."""
    if workspace == CAPPED:
        return {"alert": _campaign(CAPPED, "alert_raised")}
    paid = pb.ExceptionEvent(event_type="order_paid")
    same_paid = pb.ExceptionEvent(event_type="order_paid", filter=_PAID)
    changed = pb.ExceptionEvent(event_type="cart_changed")
    once = _campaign(MAIN, "signed_up")
    once.ClearField("reentry_interval")
    return {
        "thanks": _campaign(MAIN, "order_placed"),
        "gift": _campaign(MAIN, "order_placed", where=_GOLD),
        "welcome": once,
        "cart": _campaign(MAIN, "cart_filled", exception=paid),
        "cart-order": _campaign(MAIN, "cart_filled", exception=same_paid),
        "latest": _campaign(MAIN, "cart_changed", exception=changed),
        "comment": _campaign(MAIN, "comment_posted", to="review_owner"),
        "gathered": _gathering(fixed=Duration(seconds=int(FIXED))),
        "gathered-apart": _gathering(
            key_property="photo",
            sliding=pb.Digest.Sliding(
                pause=Duration(seconds=int(PAUSE)), most=Duration(seconds=int(MOST))
            ),
        ),
    }


async def apply(
    channels: Mapping[str, grpc.aio.Channel], webhook_sink: str, *, news_per_minute: int
) -> None:
    """Write everything and launch all but the news, which go out at so many a minute."""
    for workspace in (*WORKSPACES, CROWD):
        await _write_templates(channels["delivery"], workspace, f"{webhook_sink}/{workspace}")
    stub: rpc.CampaignServiceAsyncStub = rpc.CampaignServiceStub(channels["trigger"])
    await stub.CreateCampaign(
        pb.CreateCampaignRequest(
            parent=f"workspaces/{CROWD}", campaign_id=NEWS, campaign=_news(news_per_minute)
        )
    )
    for workspace in WORKSPACES:
        for name, campaign in campaigns(workspace).items():
            created = await stub.CreateCampaign(
                pb.CreateCampaignRequest(
                    parent=f"workspaces/{workspace}", campaign_id=name, campaign=campaign
                )
            )
            await stub.LaunchCampaign(pb.LaunchCampaignRequest(name=created.name))
    await _write_cap(channels["throttle"])


def _campaign(
    workspace: str,
    event_type: str,
    *,
    where: str = "",
    exception: pb.ExceptionEvent | None = None,
    to: str = "",
) -> pb.Campaign:
    return pb.Campaign(
        trigger=pb.Trigger(event_type=event_type, filter=where),
        delay=_WAIT if exception is not None else None,
        exceptions=[exception] if exception is not None else [],
        recipient=pb.Recipient(event_property=to) if to else None,
        reentry_interval=_AGAIN,
        message=_message(workspace, "told"),
    )


def _gathering(**window: Any) -> pb.Campaign:
    campaign = _campaign(MAIN, "photo_liked", to="photo_owner")
    campaign.message.CopyFrom(_message(MAIN, "gathered"))
    campaign.digest.CopyFrom(
        pb.Digest(
            object_property="photo",
            items_max=_ITEMS_MAX,
            undo=pb.Digest.Undo(event_type="photo_unliked"),
            **window,
        )
    )
    return campaign


def _news(per_minute: int) -> pb.Campaign:
    everybody = pb.Schedule(audience=pb.Audience(everyone=True))
    return pb.Campaign(
        trigger=pb.Trigger(schedule=everybody, filter="!profile.attributes.deaf"),
        message=_message(CROWD, "news"),
        sends_per_minute=per_minute,
    )


def _message(workspace: str, template: str) -> pb.Message:
    return pb.Message(
        channel=CHANNEL_WEBHOOK, template=f"workspaces/{workspace}/templates/{template}"
    )


async def _write_templates(channel: grpc.aio.Channel, workspace: str, url: str) -> None:
    stub: template_rpc.TemplateServiceAsyncStub = template_rpc.TemplateServiceStub(channel)
    for name, body in _BODIES.items():
        await stub.UpdateTemplate(
            template_pb.UpdateTemplateRequest(
                template=template_pb.Template(
                    name=f"workspaces/{workspace}/templates/{name}",
                    webhook=template_pb.WebhookPart(url=url, body=body),
                ),
                allow_missing=True,
            )
        )


async def _write_cap(channel: grpc.aio.Channel) -> None:
    stub: cap_rpc.FrequencyCapServiceAsyncStub = cap_rpc.FrequencyCapServiceStub(channel)
    await stub.UpdateFrequencyCap(
        cap_pb.UpdateFrequencyCapRequest(
            frequency_cap=cap_pb.FrequencyCap(
                name=f"workspaces/{CAPPED}/frequencyCaps/few",
                channel=CHANNEL_WEBHOOK,
                limit=CAP,
                rolling=Duration(seconds=30 * 86_400),
            ),
            allow_missing=True,
        )
    )
