"""Why somebody got a message, or did not."""

from datetime import datetime
from uuid import UUID

from beckon.trigger.v1 import decision_service_pb2 as pb
from beckon.trigger.v1 import decision_service_pb2_grpc as rpc

from mesh.names import parse_name
from mesh.pages import PageTokens, page_size
from services.trigger.convert.records import to_decision
from services.trigger.servicer.explain import Explaining
from services.trigger.store import RecordStore


class DecisionServicer(rpc.DecisionServiceServicer):
    def __init__(self, store: RecordStore, tokens: PageTokens, *, explaining: Explaining) -> None:
        self._explaining = explaining
        self._store = store
        self._tokens = tokens

    async def ListDecisions(
        self, request: pb.ListDecisionsRequest, context: object
    ) -> pb.ListDecisionsResponse:
        size = page_size(request.page_size)
        workspace, profile = parse_name(request.parent, "profiles", field="parent")
        campaign = parse_name(request.campaign, "campaigns")[1] if request.campaign else ""
        last = self._tokens.read(request)
        found = await self._store.page(
            workspace,
            profile,
            campaign=campaign,
            event_id=request.event_id,
            before=_place(last) if last else None,
            limit=size + 1,
        )
        response = pb.ListDecisionsResponse(
            decisions=[to_decision(workspace, row) for row in found[:size]]
        )
        if len(found) > size:
            end = found[size - 1]
            response.next_page_token = self._tokens.write(
                request, (end.decide_time.isoformat(), end.campaign, str(end.event_uid))
            )
        return response

    async def ExplainDecision(
        self, request: pb.ExplainDecisionRequest, context: object
    ) -> pb.DecisionExplanation:
        return await self._explaining.explain(request)


def _place(key: tuple[object, ...]) -> tuple[datetime, str, UUID]:
    time, campaign, uid = key
    return datetime.fromisoformat(str(time)), str(campaign), UUID(str(uid))
