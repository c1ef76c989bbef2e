"""Brings about what manifests say: checks all of it first, then changes what differs."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc.aio
from beckon.delivery.v1 import template_service_pb2 as templates_pb
from beckon.delivery.v1 import template_service_pb2_grpc as templates_rpc
from beckon.profile.v1 import segment_service_pb2 as segments_pb
from beckon.profile.v1 import trait_service_pb2 as traits_pb
from beckon.throttle.v1 import frequency_cap_service_pb2 as caps_pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as caps_rpc
from beckon.trigger.v1 import campaign_service_pb2 as campaigns_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaigns_rpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message as ProtoMessage

from cli.manifests.decode import Document
from cli.manifests.definitions import Definitions
from cli.manifests.differ import changed_paths, top_level
from cli.manifests.kinds import CAMPAIGN, CAP, KINDS, SEGMENT, TEMPLATE, TRAIT
from cli.manifests.places import Faults, Place
from cli.output import enum_text
from cli.problems import Refusal, refusal_of, refusal_of_ours
from cli.session import Session
from mesh.errors import FieldViolation, MeshError

Done = TypeVar("Done")

CREATED, UPDATED, UNCHANGED = "created", "updated", "unchanged"

_LINE = re.compile(r"^(?:.*, )?line (\d+): ")
# What a file got wrong; anything else (away, not allowed) concerns the call and not the file.
_OF_THE_FILE = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "ALREADY_EXISTS", "NOT_FOUND"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one document."""

    document: Document
    action: str
    fields: Sequence[str] = ()
    """That were changed."""
    state: str = ""
    moved: str = ""
    """What happened to its state: `launched`; '' for nothing."""

    @property
    def changed(self) -> bool:
        """Whether anything is different now."""
        return self.action != UNCHANGED or bool(self.moved)


@dataclass(slots=True)
class Applier:
    """Speaks with the services that keep what manifests describe."""

    campaigns: "campaigns_rpc.CampaignServiceAsyncStub"
    templates: "templates_rpc.TemplateServiceAsyncStub"
    caps: "caps_rpc.FrequencyCapServiceAsyncStub"
    definitions: Definitions
    parent: str
    _current: dict[str, ProtoMessage | None] = field(default_factory=dict)

    @classmethod
    async def of(cls, session: Session) -> "Applier":
        """Open what is needed."""
        trigger, delivery = await session.channel("trigger"), await session.channel("delivery")
        throttle = await session.channel("throttle")
        return cls(
            campaigns=campaigns_rpc.CampaignServiceStub(trigger),
            templates=templates_rpc.TemplateServiceStub(delivery),
            caps=caps_rpc.FrequencyCapServiceStub(throttle),
            definitions=await Definitions.of(session),
            parent=session.parent,
        )

    async def check(self, documents: Sequence[Document], faults: Faults) -> None:
        """Let the services look at every document that would change something; write nothing."""
        for document in documents:
            await self._guarded(document, faults, self._check)
        await self._check_templates(documents, faults)

    async def apply(self, documents: Sequence[Document], faults: Faults) -> list[Result]:
        """Bring everything about, caps and templates before the campaigns that need them."""
        return [
            result
            for document in in_order(documents)
            if (result := await self._guarded(document, faults, self._apply)) is not None
        ]

    async def plan(self, documents: Sequence[Document]) -> list[Result]:
        """Say what `apply` would do."""
        return [await self._planned(document) for document in in_order(documents)]

    async def _guarded(
        self, document: Document, faults: Faults, do: Callable[[Document], Awaitable[Done]]
    ) -> Done | None:
        try:
            return await do(document)
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            if refusal.code not in _OF_THE_FILE:
                raise
        except MeshError as error:
            refusal = refusal_of_ours(error)
        for place, text in located(document, refusal):
            faults.add(place, text)
        return None

    async def _planned(self, document: Document) -> Result:
        current = await self._get(document)
        state = "" if current is None else _state_of(document, current)
        moved = move_of(document, state or "draft", known=current is not None)
        if current is None:
            if document.state == "archived":
                return Result(document=document, action=UNCHANGED, state="")
            return Result(document=document, action=CREATED, state=state, moved=moved)
        paths = changed_paths(current, document.message)
        action = UPDATED if paths else UNCHANGED
        return Result(document=document, action=action, fields=paths, state=state, moved=moved)

    async def _check(self, document: Document) -> None:
        planned = await self._planned(document)
        if planned.action is not UNCHANGED:
            await self._write(document, planned, validate_only=True)

    async def _apply(self, document: Document) -> Result:
        planned = await self._planned(document)
        state = planned.state
        if planned.action is not UNCHANGED:
            written = await self._write(document, planned, validate_only=False)
            state = _state_of(document, written)
        if planned.moved:
            moved = await self._move(document, planned.moved)
            state = enum_text(moved, "state")
        return Result(
            document=document,
            action=planned.action,
            fields=planned.fields,
            state=state,
            moved=planned.moved,
        )

    async def _check_templates(self, documents: Sequence[Document], faults: Faults) -> None:
        """Make sure that a campaign has words for its channel: trigger does not ask delivery."""
        known: dict[str, templates_pb.Template | None] = {
            document.message.name: document.message
            for document in documents
            if isinstance(document.message, templates_pb.Template)
        }
        for document in documents:
            campaign = document.message
            if not isinstance(campaign, campaigns_pb.Campaign) or document.state == "archived":
                continue
            name = campaign.message.template
            if name not in known:
                known[name] = await self._template(name)
            if text := lack_of(known[name], campaign.message):
                faults.add(document.place_of("message.template"), f"message.template: {text}")

    async def _template(self, name: str) -> templates_pb.Template | None:
        try:
            return await self.templates.GetTemplate(templates_pb.GetTemplateRequest(name=name))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def _get(self, document: Document) -> ProtoMessage | None:
        name: str = document.message.name  # type: ignore[attr-defined]
        try:
            match document.kind:
                case kind if kind is CAP:
                    return await self.caps.GetFrequencyCap(
                        caps_pb.GetFrequencyCapRequest(name=name)
                    )
                case kind if kind is TEMPLATE:
                    return await self._template(name)
                case kind if kind in (TRAIT, SEGMENT):
                    return await self.definitions.get(document)
                case _:
                    return await self.campaigns.GetCampaign(
                        campaigns_pb.GetCampaignRequest(name=name)
                    )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def _write(
        self, document: Document, planned: Result, *, validate_only: bool
    ) -> ProtoMessage:
        creates = planned.action is CREATED
        mask = FieldMask(paths=["*"] if creates else top_level(list(planned.fields)))
        message = document.message
        if document.kind in {TRAIT, SEGMENT}:
            if validate_only:
                await self.definitions.check(document, known=not creates)
                return message
            return await self.definitions.write(document)
        if isinstance(message, caps_pb.FrequencyCap):
            if validate_only:
                # Caps are small: the schema's rules, held to here already, are all there are.
                return message
            return await self.caps.UpdateFrequencyCap(
                caps_pb.UpdateFrequencyCapRequest(
                    frequency_cap=message, update_mask=FieldMask(paths=["*"]), allow_missing=True
                )
            )
        if isinstance(message, templates_pb.Template):
            return await self.templates.UpdateTemplate(
                templates_pb.UpdateTemplateRequest(
                    template=message,
                    update_mask=mask,
                    allow_missing=True,
                    validate_only=validate_only,
                )
            )
        assert isinstance(message, campaigns_pb.Campaign)
        if creates:
            return await self.campaigns.CreateCampaign(
                campaigns_pb.CreateCampaignRequest(
                    parent=self.parent,
                    campaign_id=document.id,
                    campaign=message,
                    validate_only=validate_only,
                )
            )
        return await self.campaigns.UpdateCampaign(
            campaigns_pb.UpdateCampaignRequest(
                campaign=message, update_mask=mask, validate_only=validate_only
            )
        )

    async def _move(self, document: Document, moved: str) -> campaigns_pb.Campaign:
        name: str = document.message.name  # type: ignore[attr-defined]
        match moved:
            case "launched":
                request = campaigns_pb.LaunchCampaignRequest(name=name)
                return await self.campaigns.LaunchCampaign(request)
            case "paused":
                return await self.campaigns.PauseCampaign(
                    campaigns_pb.PauseCampaignRequest(name=name)
                )
            case _:
                return await self.campaigns.ArchiveCampaign(
                    campaigns_pb.ArchiveCampaignRequest(name=name)
                )


def in_order(documents: Sequence[Document]) -> list[Document]:
    """Return documents so that each comes after what it needs."""
    order = list(KINDS)
    return sorted(documents, key=lambda document: order.index(document.kind.name))


def move_of(document: Document, state: str, *, known: bool) -> str:
    """Return which move brings a campaign to the state its file wants; '' for none.

    A draft that should be paused stays a draft: launched for a moment, it would let people in. So
    does one that was launched and should be a draft again: `paused` is what that means.
    """
    wanted = document.state
    if document.kind is not CAMPAIGN or not wanted or wanted == state:
        return ""
    if wanted == "archived":
        return "archived" if known else ""
    if wanted == "active":
        return "launched"
    return "paused" if wanted == "paused" and state == "active" else ""


def lack_of(template: templates_pb.Template | None, message: campaigns_pb.Message) -> str:
    """Return what a campaign's message misses of its template; '' for nothing."""
    name, channel = message.template.rpartition("/")[2], enum_text(message, "channel")
    if template is None:
        return f"no template {name!r}, neither in the files nor in the workspace"
    if not template.HasField("email" if channel == "email" else "webhook"):
        return f"template {name!r} has no {channel}"
    return ""


def located(document: Document, refusal: Refusal) -> list[tuple[Place, str]]:
    """Return what a service found wrong, each with its place in the file."""
    violations = refusal.violations or _of_expression(document, refusal)
    if not violations and refusal.reason == "HOST_FORBIDDEN":
        violations = [FieldViolation("webhook.url", refusal.message)]
    if not violations:
        return [(document.place, f"{document.title}: {refusal.message} [{refusal.reason}]")]
    return [_located(document, refusal, one) for one in violations]


def _of_expression(document: Document, refusal: Refusal) -> list[FieldViolation]:
    """Return which field holds the expression that a service refused without naming its field."""
    source = refusal.metadata.get("expression", "")
    filters = _expressions(document.message) if source else {}
    paths = [path for path, text in filters.items() if text.startswith(source)]
    return [FieldViolation(path, refusal.message) for path in paths[:1]]


def _expressions(message: ProtoMessage) -> dict[str, str]:
    match message:
        case campaigns_pb.Campaign():
            filters = {"trigger.filter": message.trigger.filter}
            for index, exception in enumerate(message.exceptions):
                filters[f"exceptions[{index}].filter"] = exception.filter
            return filters
        case segments_pb.Segment() | traits_pb.Trait():
            return {"filter": message.filter}
        case _:
            return {}


def _located(document: Document, refusal: Refusal, violation: FieldViolation) -> tuple[Place, str]:
    path = violation.field.replace("['", '["').replace("']", '"]')
    place = document.place_of(path)
    name = path.removeprefix(f"{document.kind.request_field}.")
    text = f"{name}: {violation.description}"
    line, column = _within(refusal, violation)
    if line > 1 or (line == 1 and column > 1):
        # A block's lines are indented in the file and not in the text.
        first = place.column if line == 1 and place.column > 1 else 1 + _indentation(place)
        place = Place(place.file, place.line + line - 1, first + max(column - 1, 0))
    return place, text


def _indentation(place: Place) -> int:
    lines = place.file.read_text("utf-8").splitlines()
    written = lines[place.line - 1] if place.line <= len(lines) else ""
    return len(written) - len(written.lstrip(" "))


def _within(refusal: Refusal, violation: FieldViolation) -> tuple[int, int]:
    """Return line and column within the field's own text, 0 where nobody says."""
    if match := _LINE.match(violation.description):
        return int(match[1]), 0
    line, column = (refusal.metadata.get(name, "") for name in ("line", "column"))
    return int(line) if line.isdecimal() else 0, int(column) if column.isdecimal() else 0


def _state_of(document: Document, message: ProtoMessage) -> str:
    return enum_text(message, "state") if document.kind is CAMPAIGN else ""
