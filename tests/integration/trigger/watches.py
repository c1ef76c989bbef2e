"""Profile's service of watches, in memory: what was set, and people by the page."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import watch_service_pb2 as pb
from beckon.profile.v1 import watch_service_pb2_grpc as rpc

from mesh.errors import InvalidArgument, NotFound, to_status
from services.profile.convert.predicates import compile_filter

if TYPE_CHECKING:
    from tests.integration.trigger.peers import Faults, MemoryProfile

_IN = " in profile.attributes"


class MemoryWatches(rpc.WatchServiceServicer):
    """Knows of filters only whether there is an attribute."""

    def __init__(self, profile: "MemoryProfile", faults: "Faults") -> None:
        self.profile = profile
        self.faults = faults
        self.set: dict[str, pb.SetWatchesRequest] = {}
        self.missing: set[str] = set()
        """Segments that are not there."""
        self.page = 2
        self.related: dict[str, list[str]] = {}
        self.streams = 0

    def watched(self, workspace: str = "acme") -> tuple[list[str], list[str]]:
        """Return the attributes, and the ids of the conditions, that are watched."""
        found = self.set.get(f"workspaces/{workspace}", pb.SetWatchesRequest())
        return list(found.attributes), [one.id for one in found.conditions]

    async def SetWatches(
        self, request: pb.SetWatchesRequest, context: Any
    ) -> pb.SetWatchesResponse:
        return await self.faults.around("SetWatches", context, lambda: self._set(request))

    async def StreamAudience(
        self, request: pb.StreamAudienceRequest, context: Any
    ) -> AsyncIterator[pb.StreamAudienceResponse]:
        if request.validate_only:
            await self.faults.around("StreamAudience", context, lambda: None)
        try:
            compile_filter(
                request.related.filter or request.filter or "true",
                relation=request.HasField("related"),
            )
        except InvalidArgument as error:
            await context.abort_with_status(to_status(error))
        if request.segment in self.missing:
            gone = NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND, f"{request.segment} does not exist"
            )
            await context.abort_with_status(to_status(gone))
        if request.validate_only:
            return
        self.streams += 1
        if request.HasField("related"):
            people = sorted(self.related.get(request.related.profile, ()))
        else:
            people = [name for name in sorted(self.profile.profiles) if self._is_in(name, request)]
        rest = [name for name in people if _id(name) > request.cursor]
        for start in range(0, len(rest), self.page):
            await self.faults.around("StreamAudience", context, lambda: None)
            page = rest[start : start + self.page]
            yield pb.StreamAudienceResponse(
                items=[
                    pb.StreamAudienceResponse.Item(
                        profile_id=_id(name), standing=self.profile.standing(name)
                    )
                    for name in page
                ],
                cursor=_id(page[-1]),
            )

    def _set(self, request: pb.SetWatchesRequest) -> pb.SetWatchesResponse:
        known = self.set.get(request.parent)
        if known is None or known.version <= request.version:
            self.set[request.parent] = request
        return pb.SetWatchesResponse(version=self.set[request.parent].version)

    def _is_in(self, name: str, request: pb.StreamAudienceRequest) -> bool:
        if not name.startswith(f"{request.parent}/"):
            return False
        if not request.filter.endswith(_IN):
            return True
        key = json.loads(request.filter.removesuffix(_IN))
        return key in self.profile.profiles[name].attributes


def _id(name: str) -> str:
    return name.rpartition("/")[2]
