"""What trigger asks of profile, throttle and delivery."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc.aio
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.delivery.v1 import erasure_service_pb2 as delivery_erasure_pb
from beckon.delivery.v1 import erasure_service_pb2_grpc as delivery_erasure_rpc
from beckon.profile.v1 import erasure_service_pb2 as profile_erasure_pb
from beckon.profile.v1 import erasure_service_pb2_grpc as profile_erasure_rpc
from beckon.profile.v1 import observation_service_pb2 as profile_pb
from beckon.profile.v1 import observation_service_pb2_grpc as profile_rpc
from beckon.profile.v1 import watch_service_pb2 as watch_pb
from beckon.profile.v1 import watch_service_pb2_grpc as watch_rpc
from beckon.throttle.v1 import identity_service_pb2 as identity_pb
from beckon.throttle.v1 import identity_service_pb2_grpc as identity_rpc
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as throttle_rpc
from beckon.type.v1.channel_pb2 import Channel
from google.rpc.status_pb2 import Status

from mesh.errors import as_told, from_rpc_error
from mesh.names import format_name
from services.trigger.convert.events import to_person
from services.trigger.convert.identities import to_found
from services.trigger.convert.sends import to_delivery, to_verdict
from services.trigger.convert.times import from_timestamp, to_timestamp, to_us
from services.trigger.convert.watches import Watches, watches_request
from services.trigger.convert.wire import observe_request
from services.trigger.model import (
    CapUse,
    DigestContent,
    Ending,
    Enrollment,
    Key,
    Occurrence,
    Person,
    ThrottleVerdict,
)

# What is known of a person may take 110 KB: so many fit into an answer.
_PEOPLE_MAX = 250
# A thousand events of each may come.
_QUERIES_MAX = 10
# A batch of deliveries may hold attributes and properties of each: less than a request may hold.
_DELIVERY_BYTES_MAX = 3 << 20


@dataclass(frozen=True, slots=True)
class Observed:
    """What profile says of the events of a turn, by their number in it."""

    standings: Mapping[int, tuple[int, profile_pb.Standing]]
    """Event → (number of the standing, standing)."""
    duplicates: frozenset[int]
    failed: Mapping[int, Status]
    erased: frozenset[int] = frozenset()
    """Of people who are forgotten: kept nowhere."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What to find of one person."""

    workspace: str
    profile: str
    types: frozenset[str]
    since: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody of an audience."""

    workspace: str
    person: Person
    relation_json: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some of an audience, and from where to go on after them."""

    found: tuple[Found, ...]
    cursor: str


class Profile:
    """Profile's internal half."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over `channel`."""
        self._observe: Any = channel.unary_unary(
            "/beckon.profile.v1.ObservationService/ObserveEvents",
            # The request is put together from records as the log holds them.
            request_serializer=bytes,
            response_deserializer=profile_pb.ObserveEventsResponse.FromString,
        )
        self._stub = profile_rpc.ObservationServiceStub(channel)
        self._erasures = profile_erasure_rpc.ErasureServiceStub(channel)
        self._watches = watch_rpc.WatchServiceStub(channel)

    async def observe(
        self, records: Sequence[tuple[int, str, bytes]], standing_types: Sequence[str]
    ) -> Observed:
        """Have records written into history; return how the people of some events stand."""
        with _translated("profile"):
            answer: profile_pb.ObserveEventsResponse = await self._observe(
                observe_request(records, standing_types)
            )
        standings = answer.standings
        return Observed(
            {
                event: (number, standings[number])
                for event, number in answer.event_standings.items()
            },
            frozenset(answer.duplicate_events),
            dict(answer.failed_events),
            frozenset(answer.erased_events),
        )

    async def people(self, profiles: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Person]:
        """Return how profiles, given as (workspace, id), stand now."""
        found: dict[tuple[str, str], Person] = {}
        for start in range(0, len(profiles), _PEOPLE_MAX):
            batch = profiles[start : start + _PEOPLE_MAX]
            request = profile_pb.BatchGetStandingsRequest(
                profiles=[format_name(workspace, "profiles", one) for workspace, one in batch]
            )
            with _translated("profile"):
                answer: profile_pb.BatchGetStandingsResponse = await self._stub.BatchGetStandings(
                    request
                )
            for name, standing in zip(batch, answer.standings, strict=True):
                found[name] = to_person(name[1], standing)
        return found

    async def events(self, queries: Sequence[EventQuery]) -> list[list[Occurrence]]:
        """Return what people did, under any of their ids, in the order of the queries."""
        found: list[list[Occurrence]] = []
        for start in range(0, len(queries), _QUERIES_MAX):
            batch = queries[start : start + _QUERIES_MAX]
            request = profile_pb.BatchFindEventsRequest(
                queries=[
                    profile_pb.BatchFindEventsRequest.Query(
                        profile=format_name(one.workspace, "profiles", one.profile),
                        types=sorted(one.types),
                        since_time_us=to_us(one.since),
                    )
                    for one in batch
                ]
            )
            with _translated("profile"):
                answer: profile_pb.BatchFindEventsResponse = await self._stub.BatchFindEvents(
                    request
                )
            found += [
                [to_found(one.workspace, one.profile, event) for event in each.events]
                for one, each in zip(batch, answer.found, strict=True)
            ]
        return found

    async def set_watches(self, workspace: str, version: int, watches: Watches) -> int:
        """Have this watched in a workspace and nothing else; return the version in force.

        A greater one than `version` is newer: then nothing has changed.
        """
        with _translated("profile"):
            answer: watch_pb.SetWatchesResponse = await self._watches.SetWatches(
                watches_request(workspace, version, watches)
            )
        return answer.version

    async def audience(self, request: watch_pb.StreamAudienceRequest) -> AsyncIterator[Page]:
        """Yield people page by page, from the request's cursor on.

        Raises:
            InvalidArgument: A filter does not compile, or the cursor is of other keys.
            NotFound: There is no such segment.
            FailedPrecondition: It is built yet.
            Unavailable: Profile is away.
        """
        workspace = request.parent.rpartition("/")[2]
        try:
            async for answer in self._watches.StreamAudience(request):
                yield Page(
                    tuple(
                        Found(workspace, to_person(one.profile_id, one.standing), one.relation_json)
                        for one in answer.items
                    ),
                    answer.cursor,
                )
        except grpc.aio.AioRpcError as error:
            raise as_told(error) or from_rpc_error(error, dependency="profile") from error

    async def record_erasure(self, request: profile_erasure_pb.RecordErasureRequest) -> None:
        """Say what a service has removed; repeating it is harmless."""
        with _translated("profile"):
            await self._erasures.RecordErasure(request)


class Throttle:
    """Throttle's internal half."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over `channel`."""
        self._stub = throttle_rpc.ThrottleServiceStub(channel)
        self._identities = identity_rpc.IdentityServiceStub(channel)

    async def reserve(self, sends: Sequence[throttle_pb.Send]) -> list[ThrottleVerdict]:
        """Return a verdict for each send, in order; repeating it is harmless."""
        request = throttle_pb.ReserveSendsRequest(sends=sends)
        with _translated("throttle"):
            answer: throttle_pb.ReserveSendsResponse = await self._stub.ReserveSends(request)
        if len(answer.verdicts) != len(sends):
            message = "throttle answered other sends than were asked about"
            raise ValueError(message)
        return [to_verdict(verdict) for verdict in answer.verdicts]

    async def release(self, sends: Sequence[tuple[bytes, str]]) -> None:
        """Free the places of (send id, profile name) that came to nothing."""
        outcome = throttle_pb.Settlement.OUTCOME_RELEASED
        request = throttle_pb.SettleSendsRequest(
            settlements=[
                throttle_pb.Settlement(send_id=send_id, profile=profile, outcome=outcome)
                for send_id, profile in sends
            ]
        )
        with _translated("throttle"):
            await self._stub.SettleSends(request)

    async def cap_uses(
        self, profile: str, channel: int, time_zone: str, time: datetime
    ) -> list[CapUse]:
        """Return how full the frequency caps of a channel were for somebody at a time."""
        request = throttle_pb.ExplainSendRequest(
            profile=profile,
            channel=Channel.ValueType(channel),
            time_zone=time_zone,
            time=to_timestamp(time),
        )
        with _translated("throttle"):
            answer: throttle_pb.ExplainSendResponse = await self._stub.ExplainSend(request)
        return [CapUse(use.frequency_cap, use.limit, tuple(use.send_ids)) for use in answer.caps]

    async def set_identities(self, request: identity_pb.SetIdentitiesRequest) -> None:
        """Say which ids are one person; repeating it is harmless."""
        with _translated("throttle"):
            await self._identities.SetIdentities(request)

    async def erase(self, request: identity_pb.ErasePeopleRequest) -> Mapping[str, int]:
        """Have people forgotten; return how much was removed. Repeating it is harmless."""
        with _translated("throttle"):
            answer: identity_pb.ErasePeopleResponse = await self._identities.ErasePeople(request)
        return dict(answer.counts)


class Delivery:
    """Delivery's internal half."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over `channel`."""
        self._stub = delivery_rpc.DeliveryServiceStub(channel)
        self._erasures = delivery_erasure_rpc.ErasureServiceStub(channel)

    async def create(
        self,
        sends: Sequence[tuple[throttle_pb.Send, Enrollment, Person]],
        digests: Mapping[tuple[Key, UUID], DigestContent],
    ) -> None:
        """Queue a delivery for each send; repeating it is harmless.

        Args:
            sends: what is to go out.
            digests: what the windows among them hold, by key and event of the passage.
        """
        requests: list[delivery_pb.CreateDeliveryRequest] = []
        size = 0
        for send, passage, person in sends:
            digest = digests.get((passage.key, passage.event.uid))
            one = to_delivery(send, passage, person, digest)
            if requests and size + len(one.data_json) > _DELIVERY_BYTES_MAX:
                await self._create(requests)
                requests, size = [], 0
            requests.append(one)
            size += len(one.data_json)
        if requests:
            await self._create(requests)

    async def _create(self, requests: Sequence[delivery_pb.CreateDeliveryRequest]) -> None:
        with _translated("delivery"):
            await self._stub.BatchCreateDeliveries(
                delivery_pb.BatchCreateDeliveriesRequest(requests=requests)
            )

    async def ending(self, name: str) -> Ending:
        """Return what became of a delivery."""
        request = delivery_pb.GetDeliveryRequest(name=name)
        with _translated("delivery"):
            try:
                found: delivery_pb.Delivery = await self._stub.GetDelivery(request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    # It is kept no more, or she was erased.
                    return Ending("")
                raise
        state = delivery_pb.Delivery.State.Name(found.state).removeprefix("STATE_").lower()
        sent = from_timestamp(found.send_time) if found.HasField("send_time") else None
        return Ending(state, found.error, sent)

    async def cancel(self, deliveries: Sequence[tuple[bytes, str]]) -> list[bool]:
        """Cancel (delivery id, profile name); say of each whether it is cancelled now."""
        items = [
            delivery_pb.BatchCancelDeliveriesRequest.Item(delivery_id=delivery_id, profile=profile)
            for delivery_id, profile in deliveries
        ]
        with _translated("delivery"):
            answer: delivery_pb.BatchCancelDeliveriesResponse = (
                await self._stub.BatchCancelDeliveries(
                    delivery_pb.BatchCancelDeliveriesRequest(items=items)
                )
            )
        return list(answer.canceled)

    async def count(self, broadcast: UUID) -> tuple[int, dict[str, int]]:
        """Return how many of a broadcast were sent, and how many failed, by reason."""
        request = delivery_pb.CountDeliveriesRequest(broadcast=broadcast.bytes)
        with _translated("delivery"):
            answer: delivery_pb.CountDeliveriesResponse = await self._stub.CountDeliveries(request)
        return answer.sent_count, dict(answer.failed)

    async def erase(self, request: delivery_erasure_pb.ErasePeopleRequest) -> Mapping[str, int]:
        """Have people forgotten; return how much was removed. Repeating it is harmless."""
        with _translated("delivery"):
            answer: delivery_erasure_pb.ErasePeopleResponse = await self._erasures.ErasePeople(
                request
            )
        return dict(answer.counts)


@dataclass(frozen=True, slots=True)
class Peers:
    """The services that trigger calls."""

    profile: Profile
    throttle: Throttle
    delivery: Delivery


@contextmanager
def _translated(dependency: str) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, dependency=dependency) from error
