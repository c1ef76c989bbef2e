"""ErasureService: forget people."""

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from beckon.delivery.v1 import erasure_service_pb2 as pb
from beckon.delivery.v1 import erasure_service_pb2_grpc as rpc
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.clock import Clock
from mesh.errors import Unavailable
from mesh.names import parse_name
from services.delivery.servicer.deliveries import Lanes
from services.delivery.store import DeliveryStore, ErasureStore
from services.delivery.store.erasure import Erased, Person

# What a provider takes for one, mostly.
_RETRY_DELAY = timedelta(seconds=1)


class Relay(Protocol):
    """Who tells others what ended, some of it from memory."""

    def forget(self, people: Collection[Person]) -> None:
        """Tell nothing more of these people."""
        ...


class ErasureServicer(rpc.ErasureServiceServicer):
    def __init__(
        self,
        erasures: ErasureStore,
        deliveries: DeliveryStore,
        lanes: Lanes,
        relay: Relay,
        clock: Clock,
    ) -> None:
        self._erasures = erasures
        self._deliveries = deliveries
        self._lanes = lanes
        self._relay = relay
        self._clock = clock

    async def ErasePeople(
        self, request: pb.ErasePeopleRequest, context: object
    ) -> pb.ErasePeopleResponse:
        people = {parse_name(name, "profiles", field="profiles") for name in request.profiles}
        await self._erasures.mark(people, now=self._clock.now())
        erased = await self._erasures.erase(request.erasure, people, now=self._clock.now())
        if await self._recall(erased):
            erased = await self._erasures.erase(request.erasure, people, now=self._clock.now())
        if erased.busy:
            raise Unavailable(
                ErrorReason.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                "a message to one of these people is being worked on",
                metadata={"dependency": "provider"},
                retry_delay=_RETRY_DELAY,
            )
        self._relay.forget(people)
        return pb.ErasePeopleResponse(counts=erased.counts)

    async def _recall(self, erased: Erased) -> bool:
        """Take out of our own lanes' hands what waits there; return whether to look again."""
        waiting = [one for lane in self._lanes.values() for one in lane.recall(erased.found)]
        if not erased.busy or not waiting:
            return False
        # Dying before this sends them once their lease runs out; the caller asks again before.
        await self._deliveries.take_back(waiting)
        return True
