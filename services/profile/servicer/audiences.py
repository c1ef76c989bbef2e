"""StreamAudience: people by the thousand, with how they stand."""

from collections.abc import AsyncIterator

from beckon.profile.v1 import watch_service_pb2 as pb

from mesh.clock import Clock
from mesh.errors import FieldViolation, InvalidArgument, invalid_field
from mesh.names import parse_name, workspace_of
from mesh.pages import OrderKey, PageTokens
from services.profile.convert.answers import standing
from services.profile.convert.moments import micros
from services.profile.convert.predicates import compile_filter
from services.profile.model.relations import BLOCKS, Walk
from services.profile.model.segments import Filter
from services.profile.store.audiences import Audiences, Place, Step


class AudienceStreams:
    """Answers page by page, each with the cursor behind it."""

    def __init__(self, store: Audiences, clock: Clock, tokens: PageTokens) -> None:
        """Take who finds the people."""
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def stream(
        self, request: pb.StreamAudienceRequest
    ) -> AsyncIterator[pb.StreamAudienceResponse]:
        """Go through the audience from where the cursor is to its end."""
        workspace = workspace_of(request.parent, field="parent")
        place = _place(self._tokens.read(request, field="cursor"))
        now_us = micros(self._clock.now())
        steps = self._steps(workspace, request, place, now_us)
        if request.validate_only:
            return
        async for step in steps:
            if step.found:
                cursor = self._tokens.write(request, step.place, field="cursor")
                yield _response(step, cursor)

    def _steps(
        self, workspace: str, request: pb.StreamAudienceRequest, place: Place, now_us: int
    ) -> AsyncIterator[Step]:
        match request.WhichOneof("who"):
            case "segment":
                _check_workspace(workspace, request.segment, "segment")
                _, segment_id = parse_name(request.segment, "segments", field="segment")
                return self._store.members(workspace, segment_id, place, now_us=now_us)
            case "related":
                related = request.related
                _check_workspace(workspace, related.profile, "related.profile")
                key = parse_name(related.profile, "profiles", field="related.profile")
                # Who asks for the blocked asks for them.
                walk = Walk(related.incoming, related.kind, related.mutual, related.kind == BLOCKS)
                wanted = _filter(related.filter, "related.filter", relation=True)
                return self._store.related(key, walk, wanted, place, now_us=now_us)
            case _:
                wanted = _filter(request.filter, "filter")
                return self._store.everyone(workspace, wanted, place, now_us=now_us)


def _response(step: Step, cursor: str) -> pb.StreamAudienceResponse:
    response = pb.StreamAudienceResponse(cursor=cursor)
    for one in step.found:
        response.items.append(
            pb.StreamAudienceResponse.Item(
                profile_id=one.person.key[1],
                standing=standing(one.person.key, one.person, one.traits),
                relation_json=one.relation.encode(),
            )
        )
    return response


def _filter(source: str, field: str, *, relation: bool = False) -> Filter | None:
    if not source:
        return None
    try:
        return compile_filter(source, relation=relation)
    except InvalidArgument as error:
        raise InvalidArgument(
            error.reason,
            f"{field}: {error.message}",
            metadata=error.metadata,
            violations=[FieldViolation(field, error.message, "cel")],
        ) from None


def _check_workspace(workspace: str, name: str, field: str) -> None:
    if workspace_of(name, field=field) != workspace:
        raise invalid_field(field, f"must be of workspaces/{workspace}")


def _place(token: OrderKey | None) -> Place:
    match token:
        case None:
            return Place()
        case (str(kind), str(id_)):
            return Place(kind, id_)
        case _:
            raise invalid_field("cursor", "is not one of ours", reason="page_token")
