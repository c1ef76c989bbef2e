"""Writing relations, and following them."""

from collections.abc import AsyncIterator

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import relation_service_pb2 as pb
from beckon.profile.v1 import relation_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import FieldViolation, InvalidArgument, invalid_field, to_rpc_status
from mesh.names import parse_name, workspace_of
from mesh.pages import OrderKey, PageTokens, page_size
from services.profile.convert import relations as convert
from services.profile.convert.moments import micros
from services.profile.convert.predicates import compile_filter
from services.profile.model.relations import BLOCKS, Walk
from services.profile.store.related import RelatedPeople
from services.profile.store.relations import Relations

RELATIONS_MAX = 1000


class RelationServicer(rpc.RelationServiceServicer):
    def __init__(
        self, store: Relations, related: RelatedPeople, clock: Clock, tokens: PageTokens
    ) -> None:
        self._store = store
        self._related = related
        self._clock = clock
        self._tokens = tokens

    async def BatchPutRelations(
        self, request: pb.BatchPutRelationsRequest, context: object
    ) -> pb.BatchPutRelationsResponse:
        # All that the schema says is checked edge by edge: each stands or falls alone.
        workspace = workspace_of(request.parent, field="parent")
        if not 1 <= len(request.relations) <= RELATIONS_MAX:
            raise _bad_size(len(request.relations))
        taken = convert.puts(workspace, request.relations)
        result = await self._store.put(workspace, taken.puts, self._clock.now())
        response = pb.BatchPutRelationsResponse(
            created_count=result.created, updated_count=result.updated
        )
        for index, error in (taken.refused | result.failed).items():
            response.failed_relations[index].CopyFrom(to_rpc_status(error))
        return response

    async def BatchDeleteRelations(
        self, request: pb.BatchDeleteRelationsRequest, context: object
    ) -> pb.BatchDeleteRelationsResponse:
        workspace = workspace_of(request.parent, field="parent")
        edges = [
            convert.edge(workspace, one, f"relations[{index}]")
            for index, one in enumerate(request.relations)
        ]
        count = await self._store.delete(workspace, edges, self._clock.now())
        return pb.BatchDeleteRelationsResponse(deleted_count=count)

    async def ListRelations(
        self, request: pb.ListRelationsRequest, context: object
    ) -> pb.ListRelationsResponse:
        key = parse_name(request.parent, "profiles", field="parent")
        size, place = page_size(request.page_size), _place(self._tokens.read(request))
        walk = Walk(request.incoming, request.kind)
        step = await self._related.list_after(key, walk, place=place, limit=size + 1)
        response = pb.ListRelationsResponse(
            relations=[
                convert.relation(step.person, one, incoming=request.incoming)
                for one in step.found[:size]
            ]
        )
        if len(step.found) > size:
            last = step.found[size - 1]
            response.next_page_token = self._tokens.write(request, (last.kind, last.other_id))
        return response

    async def StreamRelated(
        self, request: pb.StreamRelatedRequest, context: object
    ) -> AsyncIterator[pb.StreamRelatedResponse]:
        key = parse_name(request.profile, "profiles", field="profile")
        place = _place(self._tokens.read(request, field="cursor"), field="cursor")
        wanted = compile_filter(request.filter, relation=True) if request.filter else None
        walk = Walk(
            request.incoming,
            request.kind,
            request.mutual,
            # Who asks for the blocked asks for them.
            request.include_blocked or request.kind == BLOCKS,
        )
        now_us = micros(self._clock.now())
        async for step in self._related.follow(key, walk, wanted, now_us=now_us, place=place):
            if step.found:
                cursor = self._tokens.write(request, step.place, field="cursor")
                yield convert.related(key[0], step.found, cursor)


def _bad_size(got: int) -> InvalidArgument:
    return InvalidArgument(
        ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
        f"{got} relations, 1 to {RELATIONS_MAX} in a call",
        metadata={"limit": str(RELATIONS_MAX), "got": str(got)},
        violations=[FieldViolation("relations", f"must be 1 to {RELATIONS_MAX}")],
    )


def _place(token: OrderKey | None, *, field: str = "page_token") -> tuple[str, str]:
    match token:
        case None:
            return "", ""
        case (str(kind), str(other_id)):
            return kind, other_id
        case _:
            raise invalid_field(field, "is not one of ours", reason="page_token")
