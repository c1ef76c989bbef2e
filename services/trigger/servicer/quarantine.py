"""Events that could not be observed or judged."""

from datetime import datetime
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import quarantine_service_pb2 as pb
from beckon.trigger.v1 import quarantine_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import NotFound, invalid_field
from mesh.names import format_name, parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from services.trigger.convert.records import to_quarantined
from services.trigger.store import QuarantineStore

_COLLECTION = "quarantinedEvents"


class QuarantineServicer(rpc.QuarantineServiceServicer):
    def __init__(self, store: QuarantineStore, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def ListQuarantinedEvents(
        self, request: pb.ListQuarantinedEventsRequest, context: object
    ) -> pb.ListQuarantinedEventsResponse:
        size = page_size(request.page_size)
        last = self._tokens.read(request)
        after = (datetime.fromisoformat(str(last[0])), UUID(str(last[1]))) if last else None
        found = await self._store.page(workspace_of(request.parent), after, limit=size + 1)
        response = pb.ListQuarantinedEventsResponse(
            quarantined_events=[to_quarantined(row) for row in found[:size]]
        )
        if len(found) > size:
            end = found[size - 1]
            response.next_page_token = self._tokens.write(
                request, (end.create_time.isoformat(), str(end.id))
            )
        return response

    async def ReplayQuarantinedEvents(
        self, request: pb.ReplayQuarantinedEventsRequest, context: object
    ) -> pb.ReplayQuarantinedEventsResponse:
        workspace = workspace_of(request.parent, field="parent")
        ids = list({_id(name, workspace, index): None for index, name in enumerate(request.names)})
        count, unknown = await self._store.mark(workspace, ids, self._clock.now())
        if unknown:
            name = format_name(workspace, _COLLECTION, str(min(unknown)))
            raise NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
                f"{name} does not exist",
                metadata={"resourceName": name},
            )
        return pb.ReplayQuarantinedEventsResponse(marked_count=count)


def _id(name: str, workspace: str, index: int) -> UUID:
    field = f"names[{index}]"
    of, text = parse_name(name, _COLLECTION, field=field)
    if of != workspace:
        raise invalid_field(field, "must be of the parent's workspace", reason="workspace")
    try:
        return UUID(text)
    except ValueError:
        raise invalid_field(field, "must end in a UUID", reason="uuid") from None
