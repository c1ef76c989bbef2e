"""TraitService: numbers reckoned from events, declared and taken back."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import trait_service_pb2 as pb
from beckon.profile.v1 import trait_service_pb2_grpc as rpc
from google.protobuf.empty_pb2 import Empty

from mesh.clock import Clock
from mesh.errors import FieldViolation, InvalidArgument, NotFound
from mesh.expressions import try_cost
from mesh.names import parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from services.profile.convert import traits as convert
from services.profile.convert.candidates import compile_trait_filter
from services.profile.store.traits import TraitDefinitions


class TraitServicer(rpc.TraitServiceServicer):
    def __init__(self, store: TraitDefinitions, clock: Clock, tokens: PageTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def CreateTrait(self, request: pb.CreateTraitRequest, context: object) -> pb.Trait:
        trait = convert.declared(request.trait)
        if trait.filter:
            _try_filter(trait.filter)
        return convert.trait(await self._store.create(trait, self._clock.now()))

    async def GetTrait(self, request: pb.GetTraitRequest, context: object) -> pb.Trait:
        found = await self._store.get(*parse_name(request.name, "traits"))
        if found is None:
            raise _not_found(request.name)
        return convert.trait(found)

    async def ListTraits(
        self, request: pb.ListTraitsRequest, context: object
    ) -> pb.ListTraitsResponse:
        workspace, size = workspace_of(request.parent, field="parent"), page_size(request.page_size)
        key = self._tokens.read(request)
        after = str(key[0]) if key else ""
        found = await self._store.list_after(workspace, after, limit=size + 1)
        response = pb.ListTraitsResponse(traits=map(convert.trait, found[:size]))
        if len(found) > size:
            last = found[size - 1].trait.trait_id
            response.next_page_token = self._tokens.write(request, (last,))
        return response

    async def DeleteTrait(self, request: pb.DeleteTraitRequest, context: object) -> Empty:
        removed = await self._store.remove(*parse_name(request.name, "traits"))
        if not removed and not request.allow_missing:
            raise _not_found(request.name)
        return Empty()


def _try_filter(source: str) -> None:
    try:
        try_cost(compile_trait_filter(source))
    except InvalidArgument as error:
        raise InvalidArgument(
            error.reason,
            f"trait.filter: {error.message}",
            metadata=error.metadata,
            violations=[FieldViolation("trait.filter", error.message, "cel")],
        ) from None


def _not_found(name: str) -> NotFound:
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such trait: {name}",
        metadata={"resourceName": name},
    )
