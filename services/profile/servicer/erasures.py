"""What may be asked about forgetting people."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from beckon.profile.v1 import erasure_service_pb2 as pb
from beckon.profile.v1 import erasure_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import parse_name, workspace_of
from mesh.pages import OrderKey, PageTokens, page_size
from services.profile.convert import erasures as convert
from services.profile.store.erasing import Eraser, Order
from services.profile.store.erasures import Erasures, ReceiptKey

_NEWEST: ReceiptKey = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0))


class ErasureServicer(rpc.ErasureServiceServicer):
    def __init__(
        self,
        eraser: Eraser,
        receipts: Erasures,
        clock: Clock,
        tokens: PageTokens,
        *,
        refused_for: timedelta,
    ) -> None:
        self._eraser = eraser
        self._receipts = receipts
        self._clock = clock
        self._tokens = tokens
        self._refused_for = refused_for

    async def CreateErasure(self, request: pb.CreateErasureRequest, context: object) -> pb.Erasure:
        person, now = parse_name(request.profile, "profiles", field="profile"), self._clock.now()
        reason = request.reason.replace("\0", "")
        order = Order(person, reason, now, now + self._refused_for)
        act = self._eraser.count if request.validate_only else self._eraser.erase
        return convert.erasure(await act(order))

    async def GetErasure(self, request: pb.GetErasureRequest, context: object) -> pb.Erasure:
        return convert.erasure(await self._receipts.get(*convert.name(request.name)))

    async def ListErasures(
        self, request: pb.ListErasuresRequest, context: object
    ) -> pb.ListErasuresResponse:
        workspace, size = workspace_of(request.parent, field="parent"), page_size(request.page_size)
        token = self._tokens.read(request)
        before = _receipt_key(token) if token else _NEWEST
        found = await self._receipts.list_before(workspace, before, limit=size + 1)
        response = pb.ListErasuresResponse(erasures=map(convert.erasure, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            assert last.erasure_id is not None
            key = (last.create_time, last.erasure_id.bytes)
            response.next_page_token = self._tokens.write(request, key)
        return response

    async def RecordErasure(
        self, request: pb.RecordErasureRequest, context: object
    ) -> pb.RecordErasureResponse:
        removal = convert.removal(request.removal, self._clock.now())
        await self._receipts.record(*convert.name(request.name), removal)
        return pb.RecordErasureResponse()


def _receipt_key(token: OrderKey) -> ReceiptKey:
    match token:
        case (datetime() as time, bytes(erasure_id)):
            return time, UUID(bytes=erasure_id)
        case _:
            raise invalid_field("page_token", "is not one of ours", reason="page_token")
