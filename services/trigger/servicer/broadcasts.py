"""Broadcasts: shown with where everybody is, and cancelled."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import broadcast_service_pb2 as pb
from beckon.trigger.v1 import broadcast_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import NotFound, invalid_field
from mesh.names import parse_name
from mesh.pages import PageTokens, page_size
from services.trigger.convert.broadcasts import to_broadcast
from services.trigger.model import Broadcast
from services.trigger.store import BroadcastStore

_ALL = "-"


class BroadcastServicer(rpc.BroadcastServiceServicer):
    def __init__(
        self,
        store: BroadcastStore,
        tokens: PageTokens,
        clock: Clock,
        *,
        account: Callable[[Broadcast], Awaitable[pb.Broadcast.Account]],
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._account = account
        self._ring = ring

    async def GetBroadcast(self, request: pb.GetBroadcastRequest, context: object) -> pb.Broadcast:
        found = await self._get(request.name)
        return to_broadcast(found, await self._account(found))

    async def ListBroadcasts(
        self, request: pb.ListBroadcastsRequest, context: object
    ) -> pb.ListBroadcastsResponse:
        size = page_size(request.page_size)
        parent, _, campaign = request.parent.rpartition("/")
        workspace = parent.split("/")[1]
        before: tuple[datetime, UUID] | None = None
        match self._tokens.read(request):
            case (datetime() as time, bytes(key)):
                before = time, UUID(bytes=key)
            case _:
                pass
        found = await self._store.page(
            workspace,
            "" if campaign == _ALL else campaign,
            [int(state) for state in request.states],
            before=before,
            limit=size + 1,
        )
        response = pb.ListBroadcastsResponse(broadcasts=map(to_broadcast, found[:size]))
        if len(found) > size:
            end = found[size - 1]
            response.next_page_token = self._tokens.write(request, (end.start_time, end.id.bytes))
        return response

    async def CancelBroadcast(
        self, request: pb.CancelBroadcastRequest, context: object
    ) -> pb.Broadcast:
        found = await self._get(request.name)
        workspace = found.event.workspace
        await self._store.cancel(workspace, found.campaign, found.id, self._clock.now())
        self._ring()
        return to_broadcast(await self._get(request.name))

    async def _get(self, name: str) -> Broadcast:
        parent, _, broadcast = name.partition("/broadcasts/")
        workspace, campaign = parse_name(parent, "campaigns")
        try:
            key = UUID(broadcast)
        except ValueError:
            raise invalid_field("name", "must end with a UUID", reason="uuid") from None
        found = await self._store.get(workspace, campaign, key)
        if found is None:
            raise NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
                f"{name} does not exist",
                metadata={"resourceName": name},
            )
        return found
