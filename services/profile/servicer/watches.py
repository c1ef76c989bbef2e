"""WatchService: what the rest of the mesh wants to hear of people."""

from collections.abc import AsyncIterator, Callable

from beckon.profile.v1 import watch_service_pb2 as pb
from beckon.profile.v1 import watch_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.errors import invalid_field
from mesh.names import workspace_of
from services.profile.convert import segments as convert
from services.profile.model.watches import Condition
from services.profile.servicer.audiences import AudienceStreams
from services.profile.store.watching import Watching


class WatchServicer(rpc.WatchServiceServicer):
    def __init__(
        self,
        store: Watching,
        audiences: AudienceStreams,
        clock: Clock,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._audiences = audiences
        self._clock = clock
        # There is something to build.
        self._changed = changed

    async def SetWatches(
        self, request: pb.SetWatchesRequest, context: object
    ) -> pb.SetWatchesResponse:
        workspace = workspace_of(request.parent, field="parent")
        conditions = [Condition(one.id, one.filter) for one in request.conditions]
        if len({one.condition_id for one in conditions}) != len(conditions):
            raise invalid_field("conditions", "must have an id of its own each")
        for at, one in enumerate(conditions):
            convert.chosen(one.filter, f"conditions[{at}].filter")
        version = await self._store.set(
            workspace, request.version, request.attributes, conditions, self._clock.now()
        )
        self._changed()
        return pb.SetWatchesResponse(version=version)

    async def StreamAudience(
        self, request: pb.StreamAudienceRequest, context: object
    ) -> AsyncIterator[pb.StreamAudienceResponse]:
        async for response in self._audiences.stream(request):
            yield response
