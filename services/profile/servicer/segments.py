"""SegmentService: who belongs together."""

from collections.abc import AsyncIterator, Callable

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import segment_service_pb2 as pb
from beckon.profile.v1 import segment_service_pb2_grpc as rpc
from google.protobuf.empty_pb2 import Empty

from mesh.clock import Clock
from mesh.errors import Aborted, NotFound, invalid_field
from mesh.names import parse_name, workspace_of
from mesh.pages import PAGE_SIZE_MAX, PageTokens, page_size
from services.profile.convert import segments as convert
from services.profile.convert.moments import micros
from services.profile.model.memberships import SegmentDefinition
from services.profile.store.segments import Counting, Members, SegmentDefinitions


class SegmentServicer(rpc.SegmentServiceServicer):
    def __init__(
        self,
        store: SegmentDefinitions,
        members: Members,
        counting: Counting,
        clock: Clock,
        tokens: PageTokens,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._members = members
        self._counting = counting
        self._clock = clock
        self._tokens = tokens
        # There is something to build.
        self._changed = changed

    async def CreateSegment(self, request: pb.CreateSegmentRequest, context: object) -> pb.Segment:
        wanted = request.segment
        workspace, segment_id = parse_name(wanted.name, "segments", field="segment.name")
        convert.chosen(wanted.filter, "segment.filter")
        made = await self._store.create(
            workspace, segment_id, wanted.filter, wanted.description, self._clock.now()
        )
        self._changed()
        return convert.segment(made)

    async def UpdateSegment(self, request: pb.UpdateSegmentRequest, context: object) -> pb.Segment:
        name = request.segment.name
        workspace, segment_id = parse_name(name, "segments", field="segment.name")

        def revise(there: SegmentDefinition | None) -> tuple[str, str] | None:
            return _revise(request, there)

        made = await self._store.change(workspace, segment_id, revise, self._clock.now())
        self._changed()
        return convert.segment(made)

    async def GetSegment(self, request: pb.GetSegmentRequest, context: object) -> pb.Segment:
        return convert.segment(await self._get(request.name))

    async def ListSegments(
        self, request: pb.ListSegmentsRequest, context: object
    ) -> pb.ListSegmentsResponse:
        workspace, size = workspace_of(request.parent, field="parent"), page_size(request.page_size)
        key = self._tokens.read(request)
        after = str(key[0]) if key else ""
        found = await self._store.list_after(workspace, after, limit=size + 1)
        response = pb.ListSegmentsResponse(segments=map(convert.segment, found[:size]))
        if len(found) > size:
            last = found[size - 1].segment_id
            response.next_page_token = self._tokens.write(request, (last,))
        return response

    async def DeleteSegment(self, request: pb.DeleteSegmentRequest, context: object) -> Empty:
        deleted = await self._store.delete(*parse_name(request.name, "segments"))
        if not deleted and not request.allow_missing:
            raise _not_found(request.name, "segment")
        self._changed()
        return Empty()

    async def CountSegmentMembers(
        self, request: pb.CountSegmentMembersRequest, context: object
    ) -> pb.CountSegmentMembersResponse:
        workspace = workspace_of(request.parent, field="parent")
        chosen = convert.chosen(request.filter, "filter")
        count, of = await self._counting.count(workspace, chosen, micros(self._clock.now()))
        return pb.CountSegmentMembersResponse(count=count, profile_count=of)

    async def ListSegmentMembers(
        self, request: pb.ListSegmentMembersRequest, context: object
    ) -> pb.ListSegmentMembersResponse:
        size, key = page_size(request.page_size), self._tokens.read(request)
        segment = await self._get(request.name)
        after = str(key[0]) if key else ""
        found = await self._members.list_after(
            segment.workspace, segment.segment_key, after, limit=size + 1
        )
        shown = convert.members(request.name, segment.workspace, found[:size])
        response = pb.ListSegmentMembersResponse(members=shown)
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1][0],))
        return response

    async def GetSegmentMembership(
        self, request: pb.GetSegmentMembershipRequest, context: object
    ) -> pb.SegmentMembership:
        segment = await self._get(request.name)
        asked = parse_name(request.profile, "profiles", field="profile")
        if asked[0] != segment.workspace:
            raise invalid_field("profile", "must be of the workspace of the segment")
        person = await self._members.find(asked)
        if person is None:
            raise _not_found(request.profile, "profile")
        found = await self._members.get(person, segment.segment_key)
        now_us = micros(self._clock.now())
        answers, due_us = await self._members.explain(person, segment.filter, now_us)
        message = convert.membership(request.name, person, found, due_us)
        message.conditions.extend(convert.conditions(answers))
        return message

    async def StreamSegmentMembers(
        self, request: pb.StreamSegmentMembersRequest, context: object
    ) -> AsyncIterator[pb.StreamSegmentMembersResponse]:
        segment = await self._get(request.name)
        after = _after(request, segment.workspace)
        while found := await self._members.list_after(
            segment.workspace, segment.segment_key, after, limit=PAGE_SIZE_MAX
        ):
            yield pb.StreamSegmentMembersResponse(
                members=convert.members(request.name, segment.workspace, found)
            )
            after = found[-1][0]

    async def _get(self, name: str) -> SegmentDefinition:
        found = await self._store.get(*parse_name(name, "segments"))
        if found is None:
            raise _not_found(name, "segment")
        return found


def _revise(
    request: pb.UpdateSegmentRequest, there: SegmentDefinition | None
) -> tuple[str, str] | None:
    if there is None and not request.allow_missing:
        raise _not_found(request.segment.name, "segment")
    after = convert.revised(there, request)
    if there is not None and (after.filter, after.description) == (there.filter, there.description):
        # Also the repeat of an update whose answer was lost: its etag is old by now.
        return None
    given = request.segment.etag
    if given and (there is None or given != convert.etag(there)):
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{request.segment.name} has changed since it was read",
            metadata={"resourceName": request.segment.name},
        )
    convert.chosen(after.filter, "segment.filter")
    return after.filter, after.description


def _after(request: pb.StreamSegmentMembersRequest, workspace: str) -> str:
    if not request.after:
        return ""
    named = parse_name(request.after, "profiles", field="after")
    if named[0] != workspace:
        raise invalid_field("after", "must be of the workspace of the segment")
    return named[1]


def _not_found(name: str, kind: str) -> NotFound:
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such {kind}: {name}",
        metadata={"resourceName": name},
    )
