"""Who keeps which kind of resource, and how it is asked, checked and written there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from beckon.delivery.v1 import template_service_pb2 as templates_pb
from beckon.delivery.v1 import template_service_pb2_grpc as templates_rpc
from beckon.throttle.v1 import frequency_cap_service_pb2 as caps_pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as caps_rpc
from beckon.trigger.v1 import campaign_service_pb2 as campaigns_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaigns_rpc
from beckon.trigger.v1 import region_service_pb2 as regions_pb
from beckon.trigger.v1 import region_service_pb2_grpc as regions_rpc
from beckon.trigger.v1 import settings_service_pb2 as settings_pb
from beckon.trigger.v1 import settings_service_pb2_grpc as settings_rpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message as ProtoMessage

from cli.manifests.decode import Document
from cli.manifests.definitions import Definitions
from cli.manifests.differ import top_level
from cli.manifests.kinds import CAMPAIGN, CAP, REGION, SEGMENT, SETTINGS, TEMPLATE, TRAIT
from cli.session import Session

ALL = FieldMask(paths=["*"])


class Keeper(Protocol):
    """A service, as far as manifests need it. Paths are the fields that differ; None: it is new."""

    async def get(self, document: Document) -> ProtoMessage:
        """Return what there is; the service refuses where there is nothing."""

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Have a change looked at; write nothing."""

    async def write(self, document: Document, paths: Sequence[str] | None) -> ProtoMessage:
        """Bring a change about."""


@dataclass(frozen=True, slots=True)
class Campaigns:
    """Campaigns, kept by trigger."""

    stub: "campaigns_rpc.CampaignServiceAsyncStub"
    parent: str
    in_flight: campaigns_pb.InFlight.ValueType = campaigns_pb.IN_FLIGHT_UNSPECIFIED

    async def get(self, document: Document) -> campaigns_pb.Campaign:
        """Return what there is."""
        return await self.stub.GetCampaign(
            campaigns_pb.GetCampaignRequest(name=_campaign(document).name)
        )

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Have trigger compile it."""
        await self._write(document, paths, validate_only=True)

    async def write(self, document: Document, paths: Sequence[str] | None) -> campaigns_pb.Campaign:
        """Create or change it; its state is moved apart."""
        return await self._write(document, paths, validate_only=False)

    async def _write(
        self, document: Document, paths: Sequence[str] | None, *, validate_only: bool
    ) -> campaigns_pb.Campaign:
        campaign = _campaign(document)
        if paths is None:
            return await self.stub.CreateCampaign(
                campaigns_pb.CreateCampaignRequest(
                    parent=self.parent,
                    campaign_id=document.id,
                    campaign=campaign,
                    validate_only=validate_only,
                )
            )
        return await self.stub.UpdateCampaign(
            campaigns_pb.UpdateCampaignRequest(
                campaign=campaign,
                update_mask=_mask(paths),
                validate_only=validate_only,
                in_flight=self.in_flight,
            )
        )


@dataclass(frozen=True, slots=True)
class Templates:
    """Templates, kept by delivery."""

    stub: "templates_rpc.TemplateServiceAsyncStub"

    async def get(self, document: Document) -> templates_pb.Template:
        """Return what there is."""
        return await self.named(document.name)

    async def named(self, name: str) -> templates_pb.Template:
        """Return a template by its name."""
        return await self.stub.GetTemplate(templates_pb.GetTemplateRequest(name=name))

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Have delivery compile it."""
        await self._write(document, paths, validate_only=True)

    async def write(self, document: Document, paths: Sequence[str] | None) -> templates_pb.Template:
        """Create or change it."""
        return await self._write(document, paths, validate_only=False)

    async def _write(
        self, document: Document, paths: Sequence[str] | None, *, validate_only: bool
    ) -> templates_pb.Template:
        assert isinstance(document.message, templates_pb.Template)
        return await self.stub.UpdateTemplate(
            templates_pb.UpdateTemplateRequest(
                template=document.message,
                update_mask=_mask(paths),
                allow_missing=True,
                validate_only=validate_only,
            )
        )


@dataclass(frozen=True, slots=True)
class Caps:
    """Frequency caps, kept by throttle."""

    stub: "caps_rpc.FrequencyCapServiceAsyncStub"

    async def get(self, document: Document) -> caps_pb.FrequencyCap:
        """Return what there is."""
        return await self.stub.GetFrequencyCap(caps_pb.GetFrequencyCapRequest(name=document.name))

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Do nothing: the schema's rules, held to already, are all there are."""

    async def write(
        self,
        document: Document,
        paths: Sequence[str] | None,  # noqa: ARG002 — of the port
    ) -> caps_pb.FrequencyCap:
        """Create or change it."""
        assert isinstance(document.message, caps_pb.FrequencyCap)
        return await self.stub.UpdateFrequencyCap(
            caps_pb.UpdateFrequencyCapRequest(
                frequency_cap=document.message, update_mask=ALL, allow_missing=True
            )
        )


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions, kept by trigger."""

    stub: "regions_rpc.RegionServiceAsyncStub"

    async def get(self, document: Document) -> regions_pb.Region:
        """Return what there is."""
        return await self.stub.GetRegion(regions_pb.GetRegionRequest(name=document.name))

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Do nothing: whether a line crosses itself is found when it is written."""

    async def write(
        self,
        document: Document,
        paths: Sequence[str] | None,  # noqa: ARG002 — of the port
    ) -> regions_pb.Region:
        """Create or change it."""
        assert isinstance(document.message, regions_pb.Region)
        return await self.stub.UpdateRegion(
            regions_pb.UpdateRegionRequest(
                region=document.message, update_mask=ALL, allow_missing=True
            )
        )


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """Settings of a workspace, kept by trigger; there are always some."""

    stub: "settings_rpc.SettingsServiceAsyncStub"

    async def get(self, document: Document) -> settings_pb.Settings:
        """Return what there is."""
        return await self.stub.GetSettings(settings_pb.GetSettingsRequest(name=document.name))

    async def check(self, document: Document, paths: Sequence[str] | None) -> None:
        """Do nothing: the schema's rules, held to already, are almost all there are."""

    async def write(
        self,
        document: Document,
        paths: Sequence[str] | None,  # noqa: ARG002 — of the port
    ) -> settings_pb.Settings:
        """Change them."""
        assert isinstance(document.message, settings_pb.Settings)
        return await self.stub.UpdateSettings(
            settings_pb.UpdateSettingsRequest(settings=document.message, update_mask=ALL)
        )


async def keepers_of(
    session: Session, in_flight: campaigns_pb.InFlight.ValueType
) -> Mapping[str, Keeper]:
    """Return who keeps what, by kind."""
    trigger = await session.channel("trigger")
    definitions = await Definitions.of(session)
    return {
        CAP.name: Caps(caps_rpc.FrequencyCapServiceStub(await session.channel("throttle"))),
        TEMPLATE.name: Templates(
            templates_rpc.TemplateServiceStub(await session.channel("delivery"))
        ),
        TRAIT.name: definitions,
        SEGMENT.name: definitions,
        REGION.name: Regions(regions_rpc.RegionServiceStub(trigger)),
        SETTINGS.name: WorkspaceSettings(settings_rpc.SettingsServiceStub(trigger)),
        CAMPAIGN.name: Campaigns(
            campaigns_rpc.CampaignServiceStub(trigger), session.parent, in_flight
        ),
    }


def _mask(paths: Sequence[str] | None) -> FieldMask:
    return ALL if paths is None else FieldMask(paths=top_level(list(paths)))


def _campaign(document: Document) -> campaigns_pb.Campaign:
    assert isinstance(document.message, campaigns_pb.Campaign)
    return document.message
