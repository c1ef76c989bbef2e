"""The services that trigger calls, small and in memory, behind real sockets, with planned faults.

They keep the promises of the contracts that trigger relies on: profile answers a repeat of a
position as before and recognises event ids, throttle and delivery are idempotent by id.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import observation_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2_grpc as profile_rpc
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as throttle_rpc
from google.rpc.status_pb2 import Status

T = TypeVar("T")
# Of the year 9999.
_LAST_SECOND = 253402300799


class Faults:
    """Failures to come, each used up by one call of its method."""

    def __init__(self) -> None:
        self._before: dict[str, list[grpc.StatusCode]] = defaultdict(list)
        self._after: dict[str, list[grpc.StatusCode]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: Counter[str] = Counter()

    def refuse(
        self, method: str, *, times: int = 1, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    ) -> None:
        """Fail the next calls before anything happens."""
        self._before[method] += [code] * times

    def lose_reply(
        self, method: str, *, times: int = 1, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    ) -> None:
        """Do the work of the next calls, then fail."""
        self._after[method] += [code] * times

    def hold(self, method: str) -> asyncio.Event:
        """Keep calls waiting until the event is set."""
        return self.gates.setdefault(method, asyncio.Event())

    def clear(self) -> None:
        """Plan nothing any more, and let go what was held."""
        self._before.clear()
        self._after.clear()
        for gate in self.gates.values():
            gate.set()
        self.gates.clear()

    async def around(self, method: str, context: Any, work: Callable[[], T]) -> T:
        self.calls[method] += 1
        if method in self.gates:
            await self.gates[method].wait()
        if self._before[method]:
            await context.abort(self._before[method].pop(0), "planned")
        answer = work()
        if self._after[method]:
            await context.abort(self._after[method].pop(0), "planned: reply lost")
        return answer


@dataclass
class Known:
    """A profile in memory."""

    attributes: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    time_zone: str = ""


class MemoryProfile(profile_rpc.ObservationServiceServicer):
    """Observes events; one that carries the property `unkeepable` is refused."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.profiles: dict[str, Known] = defaultdict(Known)
        self.history: dict[str, list[str]] = defaultdict(list)
        self.keep_all = False
        self._places: dict[str, tuple[int, str]] = {}
        self._answers: dict[tuple[int, str, int], profile_pb.Standing] = {}

    def forget(self, event_id: str, workspace: str = "acme") -> None:
        """Forget an event id, as after seven days."""
        del self._places[f"{workspace}/{event_id}"]

    async def ObserveEvents(
        self, request: profile_pb.ObserveEventsRequest, context: Any
    ) -> profile_pb.ObserveEventsResponse:
        return await self.faults.around("ObserveEvents", context, lambda: self._observe(request))

    async def BatchGetStandings(
        self, request: profile_pb.BatchGetStandingsRequest, context: Any
    ) -> profile_pb.BatchGetStandingsResponse:
        return await self.faults.around(
            "BatchGetStandings",
            context,
            lambda: profile_pb.BatchGetStandingsResponse(
                standings=[self._standing(name) for name in request.profiles]
            ),
        )

    async def BatchGetAddresses(
        self, request: profile_pb.BatchGetAddressesRequest, context: Any
    ) -> profile_pb.BatchGetAddressesResponse:
        raise NotImplementedError  # trigger never asks for addresses

    def _observe(
        self, request: profile_pb.ObserveEventsRequest
    ) -> profile_pb.ObserveEventsResponse:
        response = profile_pb.ObserveEventsResponse()
        number = -1
        for one in request.records:
            place = (one.partition, one.position)
            for index, event in enumerate(one.record.events):
                number += 1
                self._observe_event(
                    response, number, place, index, one.record, event, request.standing_types
                )
        return response

    def _observe_event(
        self,
        response: profile_pb.ObserveEventsResponse,
        number: int,
        place: tuple[int, str],
        index: int,
        record: LogRecord,
        event: Event,
        types: Any,
    ) -> None:
        refused = b"unkeepable" in event.properties_json and not self.keep_all
        if refused or event.occur_time.seconds > _LAST_SECOND:
            response.failed_events[number].CopyFrom(Status(code=3, message="planned"))
            return
        uid = f"{record.workspace}/{event.event_id}"
        if uid not in self._places:
            self._places[uid] = place
            self._keep(record, event)
            self._answers[*place, index] = self._standing(event.profile)
        elif self._places[uid] != place:
            response.duplicate_events.append(number)
            return
        if event.type in types:
            response.event_standings[number] = len(response.standings)
            response.standings.append(self._answers[*place, index])

    def _keep(self, record: LogRecord, event: Event) -> None:
        known = self.profiles[event.profile]
        self.history[event.profile].append(event.event_id)
        occurred = record.receive_time_us
        if event.HasField("occur_time"):
            occurred = event.occur_time.ToMicroseconds() + record.clock_offset_us
        count, first, last = known.counters.get(event.type, (0, occurred, occurred))
        known.counters[event.type] = (count + 1, min(first, occurred), max(last, occurred))
        if event.type == "profile_updated":
            known.attributes |= msgspec.json.decode(event.properties_json)

    def _standing(self, name: str) -> profile_pb.Standing:
        known = self.profiles.get(name, Known())
        return profile_pb.Standing(
            attributes_json=msgspec.json.encode(known.attributes),
            time_zone=known.time_zone,
            counters=[
                profile_pb.Standing.Counter(
                    type=type_, count=count, first_time_us=first, last_time_us=last
                )
                for type_, (count, first, last) in known.counters.items()
            ],
            first_seen_time_us=min((one[1] for one in known.counters.values()), default=0),
            last_seen_time_us=max((one[2] for one in known.counters.values()), default=0),
        )


class MemoryThrottle(throttle_rpc.ThrottleServiceServicer):
    """Allows everything that `judge` does not answer otherwise."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.judge: Callable[[throttle_pb.Send], throttle_pb.Verdict | None] = lambda _: None
        self.reserved: dict[bytes, throttle_pb.Send] = {}
        self.released: set[bytes] = set()

    async def ReserveSends(
        self, request: throttle_pb.ReserveSendsRequest, context: Any
    ) -> throttle_pb.ReserveSendsResponse:
        return await self.faults.around("ReserveSends", context, lambda: self._reserve(request))

    async def SettleSends(
        self, request: throttle_pb.SettleSendsRequest, context: Any
    ) -> throttle_pb.SettleSendsResponse:
        self.released |= {one.send_id for one in request.settlements}
        return throttle_pb.SettleSendsResponse()

    def _reserve(
        self, request: throttle_pb.ReserveSendsRequest
    ) -> throttle_pb.ReserveSendsResponse:
        verdicts = []
        for send in request.sends:
            said = self.judge(send)
            if said is None:
                self.reserved[send.send_id] = send
                said = throttle_pb.Verdict(allow=throttle_pb.Verdict.Allow())
            verdicts.append(said)
        return throttle_pb.ReserveSendsResponse(verdicts=verdicts)


class MemoryDelivery(delivery_rpc.DeliveryServiceServicer):
    """Keeps deliveries by id; what is in `handed` cannot be cancelled any more."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.created: dict[bytes, delivery_pb.CreateDeliveryRequest] = {}
        self.canceled: set[bytes] = set()
        self.handed: set[bytes] = set()
        self.poisonous: Callable[[delivery_pb.CreateDeliveryRequest], bool] = lambda _: False

    @property
    def going_out(self) -> list[delivery_pb.CreateDeliveryRequest]:
        """What a person would get."""
        return [one for key, one in self.created.items() if key not in self.canceled]

    async def GetDelivery(
        self, request: delivery_pb.GetDeliveryRequest, context: Any
    ) -> delivery_pb.Delivery:
        raise NotImplementedError  # not trigger's to ask

    async def ListDeliveries(
        self, request: delivery_pb.ListDeliveriesRequest, context: Any
    ) -> delivery_pb.ListDeliveriesResponse:
        raise NotImplementedError  # not trigger's to ask

    async def RedriveDeliveries(
        self, request: delivery_pb.RedriveDeliveriesRequest, context: Any
    ) -> delivery_pb.RedriveDeliveriesResponse:
        raise NotImplementedError  # not trigger's to ask

    async def BatchCreateDeliveries(
        self, request: delivery_pb.BatchCreateDeliveriesRequest, context: Any
    ) -> delivery_pb.BatchCreateDeliveriesResponse:
        if any(self.poisonous(one) for one in request.requests):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "planned")
        return await self.faults.around(
            "BatchCreateDeliveries", context, lambda: self._create(request)
        )

    async def BatchCancelDeliveries(
        self, request: delivery_pb.BatchCancelDeliveriesRequest, context: Any
    ) -> delivery_pb.BatchCancelDeliveriesResponse:
        return await self.faults.around(
            "BatchCancelDeliveries", context, lambda: self._cancel(request)
        )

    def _create(
        self, request: delivery_pb.BatchCreateDeliveriesRequest
    ) -> delivery_pb.BatchCreateDeliveriesResponse:
        created = 0
        for one in request.requests:
            assert len(one.delivery_id) == 16
            created += one.delivery_id not in self.created
            self.created.setdefault(one.delivery_id, one)
        return delivery_pb.BatchCreateDeliveriesResponse(created_count=created)

    def _cancel(
        self, request: delivery_pb.BatchCancelDeliveriesRequest
    ) -> delivery_pb.BatchCancelDeliveriesResponse:
        answers = [one.delivery_id not in self.handed for one in request.items]
        self.canceled |= {one.delivery_id for one in request.items} - self.handed
        return delivery_pb.BatchCancelDeliveriesResponse(canceled=answers)


@dataclass
class MemoryPeers:
    """The three of them, and where they listen."""

    profile: MemoryProfile
    throttle: MemoryThrottle
    delivery: MemoryDelivery
    faults: Faults
    address: str


@asynccontextmanager
async def memory_peers() -> AsyncIterator[MemoryPeers]:
    """Serve all three at one address."""
    faults = Faults()
    profile, throttle, delivery = (
        MemoryProfile(faults),
        MemoryThrottle(faults),
        MemoryDelivery(faults),
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    profile_rpc.add_ObservationServiceServicer_to_server(profile, server)
    throttle_rpc.add_ThrottleServiceServicer_to_server(throttle, server)
    delivery_rpc.add_DeliveryServiceServicer_to_server(delivery, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield MemoryPeers(profile, throttle, delivery, faults, f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
