"""What a story can do and see: everything by the public API, as a caller would."""

import json
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import grpc.aio
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.delivery.v1 import template_service_pb2 as template_pb
from beckon.delivery.v1 import template_service_pb2_grpc as template_rpc
from beckon.ingest.v1 import ingest_service_pb2 as ingest_pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as ingest_rpc
from beckon.ingest.v1.event_pb2 import Event
from beckon.profile.v1 import erasure_service_pb2_grpc as erasure_rpc
from beckon.profile.v1 import identity_service_pb2_grpc as identity_rpc
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc
from beckon.profile.v1 import segment_service_pb2 as segment_pb
from beckon.profile.v1 import segment_service_pb2_grpc as segment_rpc
from beckon.profile.v1 import trait_service_pb2 as trait_pb
from beckon.profile.v1 import trait_service_pb2_grpc as trait_rpc
from beckon.throttle.v1 import frequency_cap_service_pb2 as cap_pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as cap_rpc
from beckon.throttle.v1 import subscription_service_pb2 as subscription_pb
from beckon.throttle.v1 import subscription_service_pb2_grpc as subscription_rpc
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaign_rpc
from beckon.trigger.v1 import decision_service_pb2 as decision_pb
from beckon.trigger.v1 import decision_service_pb2_grpc as decision_rpc
from beckon.trigger.v1 import quarantine_service_pb2 as quarantine_pb
from beckon.trigger.v1 import quarantine_service_pb2_grpc as quarantine_rpc
from beckon.type.v1.channel_pb2 import CHANNEL_EMAIL, CHANNEL_WEBHOOK
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.client import connect
from mesh.clock import SystemClock
from stack.sinks import store
from stack.spans import Span, read_trace
from stack.state import State
from stack.up import Stack
from tests.waiting import eventually

# A message takes milliseconds; two shared cores now and then take seconds.
_LIMIT = 20.0

Channels = Mapping[str, grpc.aio.Channel]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A caller who may enter one workspace."""

    caller: str
    key: str
    workspace: str
    scopes: Sequence[str]


TENANT = Tenant("shop", "the-key-of-the-shop", "shop", ("events:write", "campaigns:write"))


@asynccontextmanager
async def connected(state: State, key: str) -> AsyncIterator[Channels]:
    """Open a channel to every service, as one caller."""
    async with AsyncExitStack() as exits:
        yield {
            service: await exits.enter_async_context(connect(target, key=key, service=service))
            for service, target in state.services.items()
        }


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh and the ways to it."""

    stack: Stack
    channels: Channels
    tenant_channels: Channels
    """Those of `TENANT`."""


@dataclass(slots=True)
class World:
    """One workspace of a running mesh."""

    mesh: Mesh
    workspace: str
    _numbers: "count[int]" = field(default_factory=count)
    _probing: bool = False

    @property
    def parent(self) -> str:
        """Its name."""
        return f"workspaces/{self.workspace}"

    def name(self, collection: str, identifier: str) -> str:
        """Return the name of something in it."""
        return f"{self.parent}/{collection}/{identifier}"

    # Stubs.

    @property
    def campaigns(self) -> "campaign_rpc.CampaignServiceAsyncStub":
        return campaign_rpc.CampaignServiceStub(self.mesh.channels["trigger"])

    @property
    def templates(self) -> "template_rpc.TemplateServiceAsyncStub":
        return template_rpc.TemplateServiceStub(self.mesh.channels["delivery"])

    @property
    def ingest(self) -> "ingest_rpc.IngestServiceAsyncStub":
        return ingest_rpc.IngestServiceStub(self.mesh.channels["ingest"])

    @property
    def profiles(self) -> "profile_rpc.ProfileServiceAsyncStub":
        return profile_rpc.ProfileServiceStub(self.mesh.channels["profile"])

    @property
    def identities(self) -> "identity_rpc.IdentityServiceAsyncStub":
        return identity_rpc.IdentityServiceStub(self.mesh.channels["profile"])

    @property
    def segments(self) -> "segment_rpc.SegmentServiceAsyncStub":
        return segment_rpc.SegmentServiceStub(self.mesh.channels["profile"])

    @property
    def erasures(self) -> "erasure_rpc.ErasureServiceAsyncStub":
        return erasure_rpc.ErasureServiceStub(self.mesh.channels["profile"])

    @property
    def quarantine(self) -> "quarantine_rpc.QuarantineServiceAsyncStub":
        return quarantine_rpc.QuarantineServiceStub(self.mesh.channels["trigger"])

    # What callers set up.

    async def template(self, body: str, *, template_id: str = "note") -> str:
        """Write a webhook template; return its name."""
        return await self._write_template(
            template_pb.Template(
                name=self.name("templates", template_id),
                webhook=template_pb.WebhookPart(url=self.sink_url, body=body),
            )
        )

    async def mail_template(
        self,
        subject: str,
        text: str,
        *,
        template_id: str = "mail",
        defaults: dict[str, str] | None = None,
    ) -> str:
        """Write an e-mail template; return its name."""
        template = template_pb.Template(
            name=self.name("templates", template_id),
            email=template_pb.EmailPart(subject=subject, text=text),
        )
        for path, value in (defaults or {}).items():
            template.defaults[path].string_value = value
        return await self._write_template(template)

    async def _write_template(self, template: template_pb.Template) -> str:
        written = await self.templates.UpdateTemplate(
            template_pb.UpdateTemplateRequest(template=template, allow_missing=True)
        )
        return written.name

    async def campaign(
        self,
        campaign_id: str,
        event_type: str,
        *,
        where: str = "",
        delay: float = 0.0,
        exceptions: Sequence[campaign_pb.ExceptionEvent] = (),
        to: str = "",
        template: str = "",
        email: bool = False,
        launch: bool = True,
        once: bool = False,
        critical: bool = False,
    ) -> str:
        """Create a campaign, launched unless told otherwise; return its name."""
        channel = CHANNEL_EMAIL if email else CHANNEL_WEBHOOK
        campaign = campaign_pb.Campaign(
            trigger=campaign_pb.Trigger(event_type=event_type, filter=where),
            recipient=campaign_pb.Recipient(event_property=to) if to else None,
            exceptions=exceptions,
            reentry_interval=None if once else Duration(),
            message=campaign_pb.Message(
                channel=channel, template=template or await self.template(EVENT_ID)
            ),
            critical=critical,
        )
        if delay:
            campaign.delay.FromTimedelta(timedelta(seconds=delay))
        created = await self.campaigns.CreateCampaign(
            campaign_pb.CreateCampaignRequest(
                parent=self.parent, campaign_id=campaign_id, campaign=campaign
            )
        )
        if launch:
            await self.launch(created.name)
        return created.name

    async def trait(self, trait_id: str, event_type: str, **more: Any) -> None:
        """Declare a trait; it counts at once."""
        stub: trait_rpc.TraitServiceAsyncStub = trait_rpc.TraitServiceStub(
            self.mesh.channels["profile"]
        )
        trait = trait_pb.Trait(name=self.name("traits", trait_id), event_type=event_type, **more)
        await stub.CreateTrait(trait_pb.CreateTraitRequest(trait=trait))

    async def segment(self, segment_id: str, where: str) -> str:
        """Declare a segment; return its name once its members are complete."""
        name = self.name("segments", segment_id)
        segment = segment_pb.Segment(name=name, filter=where)
        await self.segments.CreateSegment(segment_pb.CreateSegmentRequest(segment=segment))

        async def look() -> segment_pb.Segment:
            return await self.segments.GetSegment(segment_pb.GetSegmentRequest(name=name))

        await eventually(look, lambda found: found.state == segment_pb.Segment.STATE_ACTIVE)
        return name

    async def profile(self, profile: str) -> profile_pb.Profile:
        """Return a profile as it stands."""
        return await self.profiles.GetProfile(
            profile_pb.GetProfileRequest(name=self.name("profiles", profile))
        )

    async def set(self, profile: str, **attributes: str | float) -> profile_pb.Profile:
        """Write attributes as an internal service does."""
        patch = profile_pb.Profile(name=self.name("profiles", profile))
        patch.attributes.update(attributes)
        paths = [f"attributes.{key}" for key in attributes]
        return await self.profiles.UpdateProfile(
            profile_pb.UpdateProfileRequest(
                profile=patch, update_mask=FieldMask(paths=paths), allow_missing=True
            )
        )

    async def launch(self, name: str) -> None:
        """Launch a campaign."""
        await self.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=name))

    async def pause(self, name: str) -> None:
        """Pause a campaign."""
        await self.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=name))

    async def cap(self, limit: int, *, defer: bool = False, rolling: bool = False) -> None:
        """Let each person get so many webhooks a day."""
        stub: cap_rpc.FrequencyCapServiceAsyncStub = cap_rpc.FrequencyCapServiceStub(
            self.mesh.channels["throttle"]
        )
        cap = cap_pb.FrequencyCap(
            name=self.name("frequencyCaps", "day"),
            channel=CHANNEL_WEBHOOK,
            limit=limit,
            on_breach=cap_pb.FrequencyCap.ON_BREACH_DEFER
            if defer
            else cap_pb.FrequencyCap.ON_BREACH_SUPPRESS,
        )
        if rolling:
            cap.rolling.FromTimedelta(timedelta(days=1))
        else:
            cap.calendar = cap_pb.FrequencyCap.CALENDAR_WINDOW_DAY
        await stub.UpdateFrequencyCap(
            cap_pb.UpdateFrequencyCapRequest(frequency_cap=cap, allow_missing=True)
        )

    async def subscribe(self, profile: str, *, email: bool = False, yes: bool = True) -> None:
        """Say what a person said to a channel."""
        stub: subscription_rpc.SubscriptionServiceAsyncStub = (
            subscription_rpc.SubscriptionServiceStub(self.mesh.channels["throttle"])
        )
        states = subscription_pb.Subscription
        await stub.BatchUpdateSubscriptions(
            subscription_pb.BatchUpdateSubscriptionsRequest(
                parent=self.parent,
                subscriptions=[
                    subscription_pb.Subscription(
                        profile=self.name("profiles", profile),
                        channel=CHANNEL_EMAIL if email else CHANNEL_WEBHOOK,
                        state=states.STATE_SUBSCRIBED if yes else states.STATE_UNSUBSCRIBED,
                    )
                ],
            )
        )

    # What people do.

    def event(
        self,
        kind: str,
        profile: str,
        *,
        event_id: str = "",
        ago: float = 0.0,
        traceparent: str = "",
        **properties: object,
    ) -> Event:
        """Return an event that occurred `ago` seconds ago."""
        event = Event(
            event_id=event_id or f"{self.workspace}-e{next(self._numbers)}",
            type=kind,
            profile=self.name("profiles", profile),
            properties_json=json.dumps(properties).encode(),
            traceparent=traceparent,
        )
        event.occur_time.FromDatetime(SystemClock().now() - timedelta(seconds=ago))
        return event

    async def happens(self, *events: Event) -> None:
        """Let events happen; all must be accepted."""
        answer = await self.send(*events)
        assert not answer.failed_events, answer
        assert answer.accepted_count == len(events)

    async def send(self, *events: Event) -> ingest_pb.IngestEventsResponse:
        """Send events and return what was said of them."""
        return await self.ingest.IngestEvents(
            ingest_pb.IngestEventsRequest(parent=self.parent, events=events)
        )

    # What came of it.

    @property
    def state(self) -> State:
        """Where everything is."""
        return self.mesh.stack.state

    @property
    def sink_url(self) -> str:
        """Where webhooks of the workspace go."""
        return f"{self.state.webhook_sink}/{self.workspace}"

    async def webhooks(self) -> list[Any]:
        """Return the bodies of the webhooks that arrived, the earliest first."""
        return [json.loads(one.body) for one in await self.requests()]

    async def requests(self) -> list[store.Webhook]:
        """Return the requests that arrived, the earliest first."""
        return store.list_webhooks(self.state.webhook_store, path=f"/{self.workspace}")

    async def mails(self, address: str) -> list[store.Mail]:
        """Return the mails that arrived at an address."""
        return store.list_mails(self.state.mail_store, to=address)

    async def decisions(self, profile: str, campaign: str = "") -> list[decision_pb.Decision]:
        """Return what was decided about a person, the latest first."""
        stub: decision_rpc.DecisionServiceAsyncStub = decision_rpc.DecisionServiceStub(
            self.mesh.channels["trigger"]
        )
        page = await stub.ListDecisions(
            decision_pb.ListDecisionsRequest(
                parent=self.name("profiles", profile),
                campaign=self.name("campaigns", campaign) if campaign else "",
            )
        )
        return list(page.decisions)

    async def decided(
        self, profile: str, state: "decision_pb.Decision.State.ValueType", campaign: str = ""
    ) -> decision_pb.Decision:
        """Wait for a decision in a state; return the latest."""

        async def look() -> list[decision_pb.Decision]:
            return await self.decisions(profile, campaign)

        found = await eventually(look, lambda all_: any(one.state == state for one in all_))
        return next(one for one in found if one.state == state)

    async def delivery(self, name: str) -> delivery_pb.Delivery:
        """Return a delivery."""
        stub: delivery_rpc.DeliveryServiceAsyncStub = delivery_rpc.DeliveryServiceStub(
            self.mesh.channels["delivery"]
        )
        return await stub.GetDelivery(delivery_pb.GetDeliveryRequest(name=name))

    async def history(self, profile: str, kind: str = "") -> list[profile_pb.ProfileEvent]:
        """Return what a person did, the latest first."""
        page = await self.profiles.ListProfileEvents(
            profile_pb.ListProfileEventsRequest(parent=self.name("profiles", profile), type=kind)
        )
        return list(page.events)

    async def members(self, segment: str) -> list[str]:
        """Return the ids of a segment's members."""
        page = await self.segments.ListSegmentMembers(
            segment_pb.ListSegmentMembersRequest(name=segment)
        )
        return [member.profile.rpartition("/")[2] for member in page.members]

    async def quarantined(self) -> list[quarantine_pb.QuarantinedEvent]:
        """Return what could not be judged."""
        page = await self.quarantine.ListQuarantinedEvents(
            quarantine_pb.ListQuarantinedEventsRequest(parent=self.parent)
        )
        return list(page.quarantined_events)

    async def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace that have arrived at the collector."""
        return read_trace(self.state.span_store, trace_id)

    async def all_judged(self, *profiles: str) -> None:
        """Return when everything these people did before this is judged.

        Their events are judged in order, so one more that leads to a message tells it.
        """
        if not self._probing:
            template = await self.template(EVENT_ID, template_id="probe")
            await self.campaign("probe", "probed", template=template, critical=True)
            self._probing = True
        ids = {f"{self.workspace}-probe{next(self._numbers)}" for _ in profiles}
        probes = [
            self.event("probed", profile, event_id=event_id)
            for profile, event_id in zip(profiles, ids, strict=True)
        ]
        await self.happens(*probes)
        await eventually(self.webhooks, lambda found: ids <= {str(one) for one in found})

    async def told(self) -> list[Any]:
        """Return the webhooks that arrived, without probes."""
        return [one for one in await self.webhooks() if not _is_probe(one, self.workspace)]


EVENT_ID = "{{ event.id | tojson }}"
"""A template's body that says which event led to it."""


def _is_probe(body: object, workspace: str) -> bool:
    return isinstance(body, str) and body.startswith(f"{workspace}-probe")


async def code_of(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Return the error with which a call fails."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"it did not fail, but answered {answer}")
