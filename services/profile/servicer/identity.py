"""What callers may ask about who is one person."""

from beckon.profile.v1 import identity_service_pb2 as pb
from beckon.profile.v1 import identity_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import parse_name
from mesh.pages import OrderKey, PageTokens, page_size
from services.profile.convert import identities as convert
from services.profile.store.identities import LATEST
from services.profile.store.merges import Merges


class IdentityServicer(rpc.IdentityServiceServicer):
    def __init__(self, store: Merges, clock: Clock, tokens: PageTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def MergeProfiles(self, request: pb.MergeProfilesRequest, context: object) -> pb.Merge:
        into = parse_name(request.into, "profiles", field="into")
        workspace, from_id = parse_name(getattr(request, "from"), "profiles", field="from")
        if workspace != into[0]:
            raise invalid_field("from", f"must be of workspaces/{into[0]}")
        if from_id == into[1]:
            raise invalid_field("from", "must not be the same as into")
        reason = request.reason.replace("\0", "")
        edge = await self._store.merge(into, from_id, reason, self._clock.now())
        return convert.merge(edge)

    async def UnmergeProfiles(
        self, request: pb.UnmergeProfilesRequest, context: object
    ) -> pb.Merge:
        workspace, text = parse_name(request.name, "merges")
        merge_id = convert.merge_id(text)
        return convert.merge(await self._store.unmerge(workspace, merge_id, self._clock.now()))

    async def ListMerges(
        self, request: pb.ListMergesRequest, context: object
    ) -> pb.ListMergesResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        size, token = page_size(request.page_size), self._tokens.read(request)
        before = _sequence(token) if token else LATEST
        found = await self._store.list_before(key, before, limit=size + 1)
        response = pb.ListMergesResponse(merges=map(convert.merge, found[:size]))
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].sequence,))
        return response


def _sequence(token: OrderKey) -> int:
    match token:
        case (int(sequence),):
            return sequence
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")
