"""What applying manifests would do: line by line, to whom, and over whose change."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc.aio
from beckon.profile.v1 import segment_service_pb2 as segments_pb
from beckon.profile.v1 import segment_service_pb2_grpc as segments_rpc
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as rpc
from google.protobuf.message import Message as ProtoMessage

from cli.manifests.apply import CREATED, UNCHANGED, Applier, Result
from cli.manifests.decode import Document
from cli.manifests.differ import changed_paths
from cli.manifests.kinds import CAMPAIGN
from cli.manifests.write import to_yaml
from cli.session import Session

# Further back nobody looks for what a file once said.
_VERSIONS_MAX = 100
_EVERYONE = "true"


@dataclass(frozen=True, slots=True)
class Audience:
    """For how many people a filter holds."""

    before: int | None
    """None: there was no such filter."""
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What applying one document would do."""

    result: Result
    difference: Sequence[str]
    """Lines as `diff -u` writes them."""
    audience: Audience | None = None
    """None: it chooses nobody, or chooses as before."""
    traffic: pb.CampaignTraffic | None = None
    """Who is on the way through a campaign that would change."""
    drift: Sequence[pb.CampaignVersion] = ()
    """What was changed since the campaign was what its file says; newest first."""
    last: pb.CampaignVersion | None = None
    """Who changed it last, where it never was what its file says."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Finds out what applying would do; changes nothing."""

    applier: Applier
    campaigns: "rpc.CampaignServiceAsyncStub"
    segments: "segments_rpc.SegmentServiceAsyncStub"
    parent: str

    @classmethod
    async def of(cls, session: Session, applier: Applier) -> "Planner":
        """Open what is needed."""
        return cls(
            applier,
            rpc.CampaignServiceStub(await session.channel("trigger")),
            segments_rpc.SegmentServiceStub(await session.channel("profile")),
            session.parent,
        )

    async def plan(self, documents: Sequence[Document]) -> list[Change]:
        """Say of every document, in the order of applying, what would become of it."""
        filters = {
            document.name: document.message.filter
            for document in documents
            if isinstance(document.message, segments_pb.Segment)
        }
        return [await self._change(one, filters) for one in await self.applier.plan(documents)]

    async def _change(self, result: Result, filters: Mapping[str, str]) -> Change:
        difference = list(difference_of(result))
        if result.action == UNCHANGED:
            return Change(result=result, difference=difference)
        audience = await self._audience(result, filters)
        if result.document.kind is not CAMPAIGN or result.action == CREATED:
            return Change(result=result, difference=difference, audience=audience)
        name = result.document.name
        versions = await self._versions(name)
        drift = drift_of(result.document.message, versions)
        return Change(
            result=result,
            difference=difference,
            audience=audience,
            traffic=await self.campaigns.GetCampaignTraffic(
                pb.GetCampaignTrafficRequest(name=name)
            ),
            drift=drift,
            last=versions[0] if versions and not drift else None,
        )

    async def _versions(self, name: str) -> Sequence[pb.CampaignVersion]:
        found = await self.campaigns.ListCampaignVersions(
            pb.ListCampaignVersionsRequest(name=name, page_size=_VERSIONS_MAX)
        )
        return found.versions

    async def _audience(self, result: Result, filters: Mapping[str, str]) -> Audience | None:
        before = await self._filter_of(result.current, {})
        after = await self._filter_of(result.document.message, filters)
        if not after or before == after:
            return None
        return Audience(await self._count(before) if before else None, await self._count(after))

    async def _filter_of(self, message: ProtoMessage | None, filters: Mapping[str, str]) -> str:
        """Return by which filter a resource chooses people; '' when it chooses none."""
        if isinstance(message, segments_pb.Segment):
            return message.filter
        if not isinstance(message, pb.Campaign) or not message.trigger.HasField("schedule"):
            return ""
        audience = message.trigger.schedule.audience
        match audience.WhichOneof("who"):
            case "filter":
                return audience.filter
            case "everyone":
                return _EVERYONE
            case "segment":
                return filters.get(audience.segment) or await self._kept(audience.segment)
            case _:
                return ""

    async def _kept(self, segment: str) -> str:
        try:
            found = await self.segments.GetSegment(segments_pb.GetSegmentRequest(name=segment))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return ""
            raise
        return found.filter

    async def _count(self, source: str) -> int:
        found = await self.segments.CountSegmentMembers(
            segments_pb.CountSegmentMembersRequest(parent=self.parent, filter=source)
        )
        return found.count


def difference_of(result: Result) -> Sequence[str]:
    """Return the lines by which a resource differs from what its file says."""
    kind = result.document.kind
    after = type(result.document.message)()
    after.CopyFrom(result.document.message)
    before = result.current
    if before is None and not result.changed:
        return ()
    if kind is CAMPAIGN:
        _set_state(after, result)
    lines_before = to_yaml(kind, before).splitlines() if before is not None else []
    lines = difflib.unified_diff(lines_before, to_yaml(kind, after).splitlines(), n=2, lineterm="")
    # The first two are names of files, of which there are none.
    return list(lines)[2:]


def drift_of(
    wanted: ProtoMessage, versions: Sequence[pb.CampaignVersion]
) -> Sequence[pb.CampaignVersion]:
    """Return the changes since a campaign was what its file says, newest first; none: it never was.

    Args:
        wanted: what the file says.
        versions: what the campaign was, newest first.
    """
    for index, version in enumerate(versions):
        if not changed_paths(version.campaign, wanted):
            return versions[:index]
    return ()


def _set_state(after: ProtoMessage, result: Result) -> None:
    word = {"launched": "active"}.get(result.moved, result.moved) or result.state or "draft"
    assert isinstance(after, pb.Campaign)
    after.state = pb.Campaign.State.Value(f"STATE_{word.upper()}")
