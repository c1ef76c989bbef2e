"""What delivery asks of its peers: addresses, and that they hear of ends."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import grpc.aio
import structlog
from beckon.ingest.v1 import ingest_service_pb2 as ingest_pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as ingest_rpc
from beckon.profile.v1 import observation_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2_grpc as profile_rpc
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as throttle_rpc

from mesh.errors import from_rpc_error
from mesh.names import format_name
from services.delivery import convert
from services.delivery.model import Ending

log = structlog.get_logger(__name__)


class Addresses(Protocol):
    """Knows where profiles are reached."""

    async def emails(self, profiles: Sequence[tuple[str, str]]) -> list[str]:
        """Return the mail address of each (workspace, profile), '' where there is none."""
        ...


class Hearer(Protocol):
    """A peer that hears of ends."""

    async def tell(self, endings: Sequence[Ending]) -> None:
        """Return when the peer knows them all; telling again changes nothing."""
        ...


class ProfileClient:
    """profile."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take a channel to it."""
        self._stub: profile_rpc.ObservationServiceAsyncStub = profile_rpc.ObservationServiceStub(
            channel
        )

    async def emails(self, profiles: Sequence[tuple[str, str]]) -> list[str]:
        """Ask for all in one call."""
        names = [format_name(workspace, "profiles", profile) for workspace, profile in profiles]
        try:
            response = await self._stub.BatchGetAddresses(
                profile_pb.BatchGetAddressesRequest(profiles=names)
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency="profile") from error
        return [addresses.email for addresses in response.addresses]


class ThrottleClient:
    """throttle: keeps or frees the places of what ended."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take a channel to it."""
        self._stub: throttle_rpc.ThrottleServiceAsyncStub = throttle_rpc.ThrottleServiceStub(
            channel
        )

    async def tell(self, endings: Sequence[Ending]) -> None:
        """Settle the sends."""
        try:
            await self._stub.SettleSends(
                throttle_pb.SettleSendsRequest(settlements=map(convert.settlement, endings))
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency="throttle") from error


class IngestClient:
    """ingest: takes receipts as events of the profile."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take a channel to it."""
        self._stub: ingest_rpc.IngestServiceAsyncStub = ingest_rpc.IngestServiceStub(channel)

    async def tell(self, endings: Sequence[Ending]) -> None:
        """Write the receipts, a call for each workspace."""
        for workspace, theirs in _by_workspace(endings):
            request = ingest_pb.IngestEventsRequest(
                parent=f"workspaces/{workspace}", events=map(convert.receipt, theirs)
            )
            try:
                response = await self._stub.IngestEvents(request)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error, dependency="ingest") from error
            for index, status in response.failed_events.items():
                # Repeating it would be refused again.
                log.error(
                    "receipt_refused",
                    delivery=str(theirs[index].delivery_id),
                    code=status.code,
                    problem=status.message,
                )


def _by_workspace(endings: Iterable[Ending]) -> list[tuple[str, list[Ending]]]:
    found: dict[str, list[Ending]] = {}
    for ending in endings:
        found.setdefault(ending.workspace, []).append(ending)
    return list(found.items())
