"""What profile asks of its peers: that the log takes its own events."""

from collections.abc import Sequence
from typing import Protocol

import grpc.aio
import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc
from google.rpc.code_pb2 import PERMISSION_DENIED

from mesh.errors import PermissionDenied, from_rpc_error
from services.profile.convert import derived_events as convert
from services.profile.model.changes import DerivedEvent

log = structlog.get_logger(__name__)


class Ingest(Protocol):
    """Takes events into the log."""

    async def take(self, workspace: str, events: Sequence[DerivedEvent]) -> None:
        """Return when all of them are in the log, or can never be; again is harmless."""
        ...


class IngestClient:
    """ingest."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take a channel to it."""
        self._stub: rpc.IngestServiceAsyncStub = rpc.IngestServiceStub(channel)

    async def take(self, workspace: str, events: Sequence[DerivedEvent]) -> None:
        """Write the events in one call.

        Raises:
            PermissionDenied: Our key may not write such events. They stay owed: with another
                key they are taken.
        """
        request = pb.IngestEventsRequest(
            parent=f"workspaces/{workspace}", events=map(convert.event, events)
        )
        try:
            response = await self._stub.IngestEvents(request)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency="ingest") from error
        refused = response.failed_events
        if any(status.code == PERMISSION_DENIED for status in refused.values()):
            raise PermissionDenied(
                ErrorReason.ERROR_REASON_EVENT_TYPE_RESERVED,
                "the key of profile lacks the scope events:derive",
                metadata={"type": events[min(refused)].type},
            )
        for index, status in refused.items():
            # Repeating it would be refused again.
            log.error(
                "derived_event_refused",
                type=events[index].type,
                event_id=events[index].event_id,
                code=status.code,
                problem=status.message,
            )
