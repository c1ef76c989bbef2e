"""Brings about what manifests say: checks all of it first, then changes what differs."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc.aio
from beckon.delivery.v1 import template_service_pb2 as templates_pb
from beckon.trigger.v1 import campaign_service_pb2 as campaigns_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaigns_rpc
from google.protobuf.message import Message as ProtoMessage

from cli.manifests import kinds
from cli.manifests.decode import Document
from cli.manifests.differ import changed_paths
from cli.manifests.keepers import Keeper, Templates, keepers_of
from cli.manifests.kinds import CAMPAIGN, KINDS, REGION, TEMPLATE
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
    current: ProtoMessage | None = None
    """What there was before. None: nothing."""

    @property
    def changed(self) -> bool:
        """Whether anything is different now."""
        return self.action != UNCHANGED or bool(self.moved)

    @property
    def paths(self) -> Sequence[str] | None:
        """The fields that differ; None of what is new."""
        return None if self.action is CREATED else self.fields


@dataclass(slots=True)
class Applier:
    """Speaks with the services that keep what manifests describe."""

    keepers: Mapping[str, Keeper]
    campaigns: "campaigns_rpc.CampaignServiceAsyncStub"

    @classmethod
    async def of(
        cls,
        session: Session,
        *,
        in_flight: campaigns_pb.InFlight.ValueType = campaigns_pb.IN_FLIGHT_UNSPECIFIED,
    ) -> "Applier":
        """Open what is needed; people on their way fare as `in_flight` says."""
        return cls(
            keepers=await keepers_of(session, in_flight),
            campaigns=campaigns_rpc.CampaignServiceStub(await session.channel("trigger")),
        )

    async def check(self, documents: Sequence[Document], faults: Faults) -> None:
        """Let the services look at every document that would change something; write nothing."""
        coming = frozenset(one.name for one in documents if one.kind is REGION)
        for document in documents:
            await self._guarded(document, faults, self._check, coming=coming)
        await self._check_templates(documents, faults)

    async def apply(self, documents: Sequence[Document], faults: Faults) -> list[Result]:
        """Bring everything about, each after what it needs."""
        return [
            result
            for document in in_order(documents)
            if (result := await self._guarded(document, faults, self._apply)) is not None
        ]

    async def plan(self, documents: Sequence[Document]) -> list[Result]:
        """Say what `apply` would do."""
        return [await self._planned(document) for document in in_order(documents)]

    async def _guarded(
        self,
        document: Document,
        faults: Faults,
        do: Callable[[Document], Awaitable[Done]],
        *,
        coming: frozenset[str] = frozenset(),
    ) -> Done | None:
        """Do something; what is refused is a fault, but not that something `coming` is missing."""
        try:
            return await do(document)
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            if refusal.code not in _OF_THE_FILE:
                raise
        except MeshError as error:
            refusal = refusal_of_ours(error)
        left = [one for one in refusal.violations if not _comes(one, coming)]
        if refusal.violations and not left:
            return None
        for place, text in located(document, replace(refusal, violations=left)):
            faults.add(place, text)
        return None

    async def _planned(self, document: Document) -> Result:
        current = await _found(self.keepers[document.kind.name].get(document))
        state = "" if current is None else _state_of(document, current)
        moved = move_of(document, state or "draft", known=current is not None)
        if current is None:
            if document.state == "archived":
                return Result(document=document, action=UNCHANGED, state="")
            return Result(document=document, action=CREATED, state=state, moved=moved)
        paths = changed_paths(current, document.message)
        return Result(
            document=document,
            action=UPDATED if paths else UNCHANGED,
            fields=paths,
            state=state,
            moved=moved,
            current=current,
        )

    async def _check(self, document: Document) -> None:
        planned = await self._planned(document)
        if planned.action is not UNCHANGED:
            await self.keepers[document.kind.name].check(document, planned.paths)

    async def _apply(self, document: Document) -> Result:
        planned = await self._planned(document)
        state = planned.state
        if planned.action is not UNCHANGED:
            written = await self.keepers[document.kind.name].write(document, planned.paths)
            state = _state_of(document, written)
        if planned.moved:
            moved = await self._move(document, planned.moved)
            state = enum_text(moved, "state")
        return replace(planned, state=state)

    async def _check_templates(self, documents: Sequence[Document], faults: Faults) -> None:
        """Make sure that a campaign has words for its channel: trigger does not ask delivery."""
        known: dict[str, templates_pb.Template | None] = {
            document.message.name: document.message
            for document in documents
            if isinstance(document.message, templates_pb.Template)
        }
        templates = self.keepers[TEMPLATE.name]
        assert isinstance(templates, Templates)
        for document in documents:
            campaign = document.message
            if not isinstance(campaign, campaigns_pb.Campaign) or document.state == "archived":
                continue
            for path, message in messages_of(campaign):
                name = message.template
                if name not in known:
                    known[name] = await _found(templates.named(name))
                if text := lack_of(known[name], message):
                    faults.add(document.place_of(f"{path}.template"), f"{path}.template: {text}")

    async def _move(self, document: Document, moved: str) -> campaigns_pb.Campaign:
        match moved:
            case "launched":
                request = campaigns_pb.LaunchCampaignRequest(name=document.name)
                return await self.campaigns.LaunchCampaign(request)
            case "paused":
                return await self.campaigns.PauseCampaign(
                    campaigns_pb.PauseCampaignRequest(name=document.name)
                )
            case _:
                return await self.campaigns.ArchiveCampaign(
                    campaigns_pb.ArchiveCampaignRequest(name=document.name)
                )


def _comes(violation: FieldViolation, coming: frozenset[str]) -> bool:
    """Say whether something is missing only until the files are applied."""
    return violation.description.removesuffix(" does not exist") in coming


async def _found(asked: Awaitable[Done]) -> Done | None:
    """Return what a service found; None for nothing."""
    try:
        return await asked
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def in_order(documents: Sequence[Document]) -> list[Document]:
    """Return documents so that each comes after what it needs.

    A campaign about another's messages comes after that one; where two are about each other, as
    they were given.
    """
    order = list(KINDS)
    rest = sorted(documents, key=lambda document: order.index(document.kind.name))
    done: list[Document] = []
    while rest:
        missing = {document.name for document in rest}
        free = [one for one in rest if _earlier(one) not in missing - {one.name}] or rest[:1]
        done += free
        rest = [one for one in rest if one not in free]
    return sorted(done, key=lambda document: order.index(document.kind.name))


def _earlier(document: Document) -> str:
    """Return the name of the campaign whose messages begin another; '' for none."""
    campaign = document.message
    if not isinstance(campaign, campaigns_pb.Campaign):
        return ""
    return campaign.trigger.interaction.campaign


def messages_of(campaign: campaigns_pb.Campaign) -> Iterator[tuple[str, campaigns_pb.Message]]:
    """Yield all that a campaign may send, each with its path."""
    yield "message", campaign.message
    for index, variant in enumerate(campaign.variants):
        yield f"variants[{index}].message", variant.message
    if campaign.digest.HasField("message"):
        yield "digest.message", campaign.digest.message


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


def _expressions(message: ProtoMessage, path: str = "") -> dict[str, str]:
    """Return all that is CEL in a message, by its path."""
    found: dict[str, str] = {}
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        if field.message_type is None:
            if field.name.endswith("filter"):
                found[name] = value
        elif not kinds.repeated(field):
            found |= _expressions(value, name)
        elif not kinds.is_map(field):
            for index, item in enumerate(value):
                found |= _expressions(item, f"{name}[{index}]")
    return found


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
