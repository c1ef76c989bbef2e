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
from uuid import UUID

import grpc
import grpc.aio
import msgspec
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.delivery.v1 import erasure_service_pb2 as delivery_erasure_pb
from beckon.delivery.v1 import erasure_service_pb2_grpc as delivery_erasure_rpc
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import erasure_service_pb2 as erasure_pb
from beckon.profile.v1 import erasure_service_pb2_grpc as erasure_rpc
from beckon.profile.v1 import observation_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2_grpc as profile_rpc
from beckon.profile.v1 import watch_service_pb2_grpc as watch_rpc
from beckon.throttle.v1 import identity_service_pb2 as identity_pb
from beckon.throttle.v1 import identity_service_pb2_grpc as identity_rpc
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as throttle_rpc
from google.rpc.status_pb2 import Status

from tests.integration.trigger.watches import MemoryWatches

T = TypeVar("T")
# Types that say what was done to people, or found out about them.
NOT_HERS = {"attribute_changed", "condition_entered", "condition_exited", "message_sent"}
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
    """What was recorded under one id."""

    attributes: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    time_zone: str = ""
    traits: dict[str, float] = field(default_factory=dict)
    events: list[profile_pb.BatchFindEventsResponse.Event] = field(default_factory=list)


class MemoryProfile(profile_rpc.ObservationServiceServicer, erasure_rpc.ErasureServiceServicer):
    """Observes events; one that carries the property `unkeepable` is refused."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.profiles: dict[str, Known] = defaultdict(Known)
        self.history: dict[str, list[str]] = defaultdict(list)
        self.keep_all = False
        self.unions: list[set[str]] = []
        self.roots: dict[str, str] = {}
        self.erased: set[str] = set()
        self.removals: dict[tuple[str, str], dict[str, int]] = {}
        self._places: dict[str, tuple[int, str]] = {}
        self._answers: dict[tuple[int, str, int], profile_pb.Standing] = {}

    def forget(self, event_id: str, workspace: str = "acme") -> None:
        """Forget an event id, as after seven days."""
        del self._places[f"{workspace}/{event_id}"]

    def unite(self, root: str, *others: str, workspace: str = "acme") -> None:
        """Make ids one person from now on."""
        names = {f"workspaces/{workspace}/profiles/{one}" for one in (root, *others)}
        self.unions = [one for one in self.unions if not one & names] + [
            names.union(*(one for one in self.unions if one & names))
        ]
        for name in names:
            self.roots[name] = f"workspaces/{workspace}/profiles/{root}"

    def part(self, *ids: str, workspace: str = "acme") -> None:
        """Make each of the ids a person of its own again."""
        names = {f"workspaces/{workspace}/profiles/{one}" for one in ids}
        self.unions = [one - names for one in self.unions]
        for name in names:
            self.roots.pop(name, None)

    def erase(self, *ids: str, workspace: str = "acme") -> None:
        """Forget people; refuse what they do from now on."""
        for name in (f"workspaces/{workspace}/profiles/{one}" for one in ids):
            self.profiles.pop(name, None)
            self.erased.add(name)

    async def BatchFindEvents(
        self, request: profile_pb.BatchFindEventsRequest, context: Any
    ) -> profile_pb.BatchFindEventsResponse:
        return await self.faults.around("BatchFindEvents", context, lambda: self._find(request))

    async def RecordErasure(
        self, request: erasure_pb.RecordErasureRequest, context: Any
    ) -> erasure_pb.RecordErasureResponse:
        return await self.faults.around("RecordErasure", context, lambda: self._record(request))

    async def CreateErasure(
        self, request: erasure_pb.CreateErasureRequest, context: Any
    ) -> erasure_pb.Erasure:
        raise NotImplementedError  # not trigger's to ask

    async def GetErasure(
        self, request: erasure_pb.GetErasureRequest, context: Any
    ) -> erasure_pb.Erasure:
        raise NotImplementedError  # not trigger's to ask

    async def ListErasures(
        self, request: erasure_pb.ListErasuresRequest, context: Any
    ) -> erasure_pb.ListErasuresResponse:
        raise NotImplementedError  # not trigger's to ask

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
                standings=[self.standing(name) for name in request.profiles]
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
            self._answers[*place, index] = self.standing(event.profile)
        elif self._places[uid] != place:
            response.duplicate_events.append(number)
            return
        if event.profile in self.erased:
            response.erased_events.append(number)
            return
        if event.type in types:
            response.event_standings[number] = len(response.standings)
            response.standings.append(self._answers[*place, index])

    def _keep(self, record: LogRecord, event: Event) -> None:
        if event.profile in self.erased:
            return
        known = self.profiles[event.profile]
        self.history[event.profile].append(event.event_id)
        occurred = record.receive_time_us
        if event.HasField("occur_time"):
            occurred = event.occur_time.ToMicroseconds() + record.clock_offset_us
        count, first, last = known.counters.get(event.type, (0, occurred, occurred))
        known.counters[event.type] = (count + 1, min(first, occurred), max(last, occurred))
        known.events.append(
            profile_pb.BatchFindEventsResponse.Event(
                event_id=event.event_id,
                type=event.type,
                occur_time_us=occurred,
                receive_time_us=record.receive_time_us,
                properties_json=event.properties_json,
                profile_id=event.profile.rpartition("/")[2],
            )
        )
        if event.type == "profile_updated":
            known.attributes |= msgspec.json.decode(event.properties_json)

    def _ids(self, name: str) -> list[str]:
        """Return all ids of a person."""
        return sorted(next((one for one in self.unions if name in one), {name}))

    def standing(self, name: str) -> profile_pb.Standing:
        """Return how a person stands, by her full name."""
        ids = self._ids(name)
        root = self.roots.get(name, name)
        parts = [self.profiles[one] for one in ids if one in self.profiles]
        own = self.profiles.get(root, Known())
        counters: dict[str, tuple[int, int, int]] = {}
        for part in parts:
            for type_, (count, first, last) in part.counters.items():
                before = counters.get(type_, (0, first, last))
                counters[type_] = (
                    before[0] + count,
                    min(before[1], first),
                    max(before[2], last),
                )
        attributes = {key: value for part in parts for key, value in part.attributes.items()}
        return profile_pb.Standing(
            attributes_json=msgspec.json.encode(attributes),
            time_zone=own.time_zone,
            counters=[
                profile_pb.Standing.Counter(
                    type=type_, count=count, first_time_us=first, last_time_us=last
                )
                for type_, (count, first, last) in counters.items()
            ],
            first_seen_time_us=min((one[1] for one in counters.values()), default=0),
            last_seen_time_us=max(
                (one[2] for type_, one in counters.items() if type_ not in NOT_HERS), default=0
            ),
            profile_id="" if root == name else root.rpartition("/")[2],
            traits_json=msgspec.json.encode(own.traits) if own.traits else b"",
            member_ids=[one.rpartition("/")[2] for one in ids] if len(ids) > 1 else [],
        )

    def _find(
        self, request: profile_pb.BatchFindEventsRequest
    ) -> profile_pb.BatchFindEventsResponse:
        return profile_pb.BatchFindEventsResponse(
            found=[
                profile_pb.BatchFindEventsResponse.Found(
                    events=sorted(
                        (
                            event
                            for name in self._ids(query.profile)
                            for event in self.profiles.get(name, Known()).events
                            if event.type in query.types
                            and event.occur_time_us >= query.since_time_us
                        ),
                        key=lambda event: event.occur_time_us,
                    )
                )
                for query in request.queries
            ]
        )

    def _record(self, request: erasure_pb.RecordErasureRequest) -> erasure_pb.RecordErasureResponse:
        removal = request.removal
        self.removals.setdefault((request.name, removal.service), dict(removal.counts))
        return erasure_pb.RecordErasureResponse()


class MemoryThrottle(throttle_rpc.ThrottleServiceServicer, identity_rpc.IdentityServiceServicer):
    """Allows everything that `judge` does not answer otherwise."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.judge: Callable[[throttle_pb.Send], throttle_pb.Verdict | None] = lambda _: None
        self.reserved: dict[bytes, throttle_pb.Send] = {}
        self.released: set[bytes] = set()
        self.cap_uses: list[throttle_pb.ExplainSendResponse.CapUse] = []
        self.identities: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.erased: set[str] = set()
        self.removed: Counter[str] = Counter()

    async def SetIdentities(
        self, request: identity_pb.SetIdentitiesRequest, context: Any
    ) -> identity_pb.SetIdentitiesResponse:
        return await self.faults.around("SetIdentities", context, lambda: self._set(request))

    async def ErasePeople(
        self, request: identity_pb.ErasePeopleRequest, context: Any
    ) -> identity_pb.ErasePeopleResponse:
        def erase() -> identity_pb.ErasePeopleResponse:
            new = set(request.profiles) - self.erased
            self.erased |= new
            self.removed[request.erasure] += len(new)
            counts = {"subscriptions": self.removed[request.erasure]}
            return identity_pb.ErasePeopleResponse(counts=counts)

        return await self.faults.around("throttle.ErasePeople", context, erase)

    def _set(self, request: identity_pb.SetIdentitiesRequest) -> identity_pb.SetIdentitiesResponse:
        for one in request.identities:
            if one.version >= self.identities.get(one.profile, (0, ()))[0]:
                self.identities[one.profile] = (one.version, tuple(one.member_ids))
        return identity_pb.SetIdentitiesResponse()

    async def ReserveSends(
        self, request: throttle_pb.ReserveSendsRequest, context: Any
    ) -> throttle_pb.ReserveSendsResponse:
        return await self.faults.around("ReserveSends", context, lambda: self._reserve(request))

    async def ExplainSend(
        self, request: throttle_pb.ExplainSendRequest, context: Any
    ) -> throttle_pb.ExplainSendResponse:
        return throttle_pb.ExplainSendResponse(caps=self.cap_uses)

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


class MemoryDelivery(
    delivery_rpc.DeliveryServiceServicer, delivery_erasure_rpc.ErasureServiceServicer
):
    """Keeps deliveries by id; what is in `handed` cannot be cancelled any more."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.created: dict[bytes, delivery_pb.CreateDeliveryRequest] = {}
        self.canceled: set[bytes] = set()
        self.handed: set[bytes] = set()
        self.pending: set[str] = set()
        self.failed: set[str] = set()
        self.erased: set[str] = set()
        self.poisonous: Callable[[delivery_pb.CreateDeliveryRequest], bool] = lambda _: False

    @property
    def going_out(self) -> list[delivery_pb.CreateDeliveryRequest]:
        """What a person would get."""
        return [one for key, one in self.created.items() if key not in self.canceled]

    async def ErasePeople(
        self, request: delivery_erasure_pb.ErasePeopleRequest, context: Any
    ) -> delivery_erasure_pb.ErasePeopleResponse:
        def erase() -> delivery_erasure_pb.ErasePeopleResponse:
            self.erased |= set(request.profiles)
            gone = [key for key, one in self.created.items() if one.profile in self.erased]
            for key in gone:
                del self.created[key]
            return delivery_erasure_pb.ErasePeopleResponse(counts={"deliveries": len(gone)})

        return await self.faults.around("delivery.ErasePeople", context, erase)

    async def GetDelivery(
        self, request: delivery_pb.GetDeliveryRequest, context: Any
    ) -> delivery_pb.Delivery:
        id_ = UUID(request.name.rpartition("/")[2]).bytes
        if id_ not in self.created:
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        failed = self.created[id_].profile in self.failed
        state = delivery_pb.Delivery.STATE_FAILED if failed else None
        return delivery_pb.Delivery(
            name=request.name,
            state=state or delivery_pb.Delivery.STATE_SENT,
            error="provider_refused: 550" if state else "",
        )

    async def ListDeliveries(
        self, request: delivery_pb.ListDeliveriesRequest, context: Any
    ) -> delivery_pb.ListDeliveriesResponse:
        raise NotImplementedError  # not trigger's to ask

    async def CountDeliveries(
        self, request: delivery_pb.CountDeliveriesRequest, context: Any
    ) -> delivery_pb.CountDeliveriesResponse:
        return await self.faults.around("CountDeliveries", context, lambda: self._count(request))

    def _count(
        self, request: delivery_pb.CountDeliveriesRequest
    ) -> delivery_pb.CountDeliveriesResponse:
        response = delivery_pb.CountDeliveriesResponse()
        for one in self.going_out:
            if one.broadcast != request.broadcast or one.profile in self.pending:
                continue
            if one.profile in self.failed:
                response.failed["provider_refused"] += 1
            else:
                response.sent_count += 1
        return response

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
    watches: MemoryWatches
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
    watches = MemoryWatches(profile, faults)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    watch_rpc.add_WatchServiceServicer_to_server(watches, server)
    profile_rpc.add_ObservationServiceServicer_to_server(profile, server)
    erasure_rpc.add_ErasureServiceServicer_to_server(profile, server)
    throttle_rpc.add_ThrottleServiceServicer_to_server(throttle, server)
    identity_rpc.add_IdentityServiceServicer_to_server(throttle, server)
    delivery_erasure_rpc.add_ErasureServiceServicer_to_server(delivery, server)
    delivery_rpc.add_DeliveryServiceServicer_to_server(delivery, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield MemoryPeers(profile, throttle, delivery, watches, faults, f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
