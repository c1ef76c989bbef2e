"""What the harness asks of the running mesh, by the public API alone."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc
from beckon.trigger.v1 import decision_service_pb2 as decision_pb
from beckon.trigger.v1 import decision_service_pb2_grpc as decision_rpc
from beckon.trigger.v1 import quarantine_service_pb2 as quarantine_pb
from beckon.trigger.v1 import quarantine_service_pb2_grpc as quarantine_rpc

from mesh.client import connect
from stack.state import State
from tests.chaos.crowd import LAUNCH
from tests.chaos.verdict import Offence

_PAGE = 1000
_UNDER_WAY = (delivery_pb.Delivery.STATE_PENDING, delivery_pb.Delivery.STATE_SENDING)


@asynccontextmanager
async def connected(state: State) -> AsyncIterator[Mapping[str, grpc.aio.Channel]]:
    """Open a channel to every service."""
    async with AsyncExitStack() as exits:
        yield {
            service: await exits.enter_async_context(
                connect(target, key=state.admin_key, service=service)
            )
            for service, target in state.services.items()
        }


@dataclass(frozen=True, slots=True)
class MeshView:
    """Questions to a mesh."""

    channels: Mapping[str, grpc.aio.Channel]

    async def counted(self, workspace: str, types: frozenset[str]) -> int:
        """Return how many events of the types the counters of all profiles hold."""
        stub: profile_rpc.ProfileServiceAsyncStub = profile_rpc.ProfileServiceStub(
            self.channels["profile"]
        )
        request = profile_pb.ListProfilesRequest(parent=_parent(workspace), page_size=_PAGE)
        total = 0
        while True:
            page = await stub.ListProfiles(request)
            total += sum(
                counter.count
                for profile in page.profiles
                for kind, counter in profile.counters.items()
                if kind in types
            )
            if not page.next_page_token:
                return total
            request.page_token = page.next_page_token

    async def history(self, workspace: str, profile: str) -> list[tuple[str, str]]:
        """Return type and id of every event of a profile, the earliest received first."""
        stub: profile_rpc.ProfileServiceAsyncStub = profile_rpc.ProfileServiceStub(
            self.channels["profile"]
        )
        request = profile_pb.ListProfileEventsRequest(
            parent=f"{_parent(workspace)}/profiles/{profile}", page_size=_PAGE
        )
        found: list[tuple[str, str]] = []
        while True:
            page = await stub.ListProfileEvents(request)
            found += [(event.type, event.event_id) for event in page.events]
            if not page.next_page_token:
                return found[::-1]
            request.page_token = page.next_page_token

    async def under_way(self, workspace: str) -> bool:
        """Say whether delivery has something left to do."""
        stub: delivery_rpc.DeliveryServiceAsyncStub = delivery_rpc.DeliveryServiceStub(
            self.channels["delivery"]
        )
        page = await stub.ListDeliveries(
            delivery_pb.ListDeliveriesRequest(
                parent=_parent(workspace), page_size=1, states=_UNDER_WAY
            )
        )
        return bool(page.deliveries)

    async def quarantined(self, workspace: str) -> list[str]:
        """Return what could not be judged, with the reason."""
        stub: quarantine_rpc.QuarantineServiceAsyncStub = quarantine_rpc.QuarantineServiceStub(
            self.channels["trigger"]
        )
        page = await stub.ListQuarantinedEvents(
            quarantine_pb.ListQuarantinedEventsRequest(parent=_parent(workspace), page_size=_PAGE)
        )
        return [
            f"{one.event_id} ({one.type}): {one.error.message}" for one in page.quarantined_events
        ]

    async def trail(self, offence: Offence) -> AsyncIterator[str]:
        """Yield how it came to an offence: decisions, gates, deliveries."""
        promise = offence.promise
        yield (
            f"{promise.workspace}/{promise.campaign} for {promise.recipient} by"
            f" {', '.join(promise.events)}: {offence.what}"
        )
        stub: decision_rpc.DecisionServiceAsyncStub = decision_rpc.DecisionServiceStub(
            self.channels["trigger"]
        )
        parent = _parent(promise.workspace)
        for event in promise.events:
            page = await stub.ListDecisions(
                decision_pb.ListDecisionsRequest(
                    parent=f"{parent}/profiles/{promise.recipient}",
                    campaign=f"{parent}/campaigns/{promise.campaign}",
                    # News are of no event.
                    event_id="" if event == LAUNCH else event,
                )
            )
            if not page.decisions:
                yield f"  {event}: no decision"
            for decision in page.decisions:
                yield f"  {event}: {_state_name(decision)}, due {_time(decision)}"
                for gate in decision.gates:
                    sign = "+" if gate.passed else "-"
                    yield f"    {gate.time.ToJsonString()} {sign} {gate.name}: {gate.detail}"
                if decision.delivery:
                    yield f"    {await self._delivery(decision.delivery)}"

    async def _delivery(self, name: str) -> str:
        stub: delivery_rpc.DeliveryServiceAsyncStub = delivery_rpc.DeliveryServiceStub(
            self.channels["delivery"]
        )
        try:
            found = await stub.GetDelivery(delivery_pb.GetDeliveryRequest(name=name))
        except grpc.aio.AioRpcError as error:
            return f"{name}: {error.code().name}"
        return (
            f"{name}: {delivery_pb.Delivery.State.Name(found.state)},"
            f" {found.attempt_count} attempts {found.error}"
        )


def _parent(workspace: str) -> str:
    return f"workspaces/{workspace}"


def _state_name(decision: decision_pb.Decision) -> str:
    return decision_pb.Decision.State.Name(decision.state)


def _time(decision: decision_pb.Decision) -> str:
    return decision.due_time.ToJsonString() if decision.HasField("due_time") else "never"
