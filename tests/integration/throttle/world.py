"""A throttle on a real PostgreSQL and a real Redis, behind a real socket, with a clock that is told the time."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import NAMESPACE_URL, UUID, uuid5

import grpc.aio
from beckon.throttle.v1 import frequency_cap_service_pb2 as caps_pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as caps_rpc
from beckon.throttle.v1 import identity_service_pb2 as identities_pb
from beckon.throttle.v1 import identity_service_pb2_grpc as identities_rpc
from beckon.throttle.v1 import subscription_service_pb2 as subscriptions_pb
from beckon.throttle.v1 import subscription_service_pb2_grpc as subscriptions_rpc
from beckon.throttle.v1 import throttle_service_pb2 as pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as rpc
from beckon.type.v1 import channel_pb2
from google.protobuf.duration_pb2 import Duration

from mesh import client, postgres, redis
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import serving
from mesh.settings import ServerSettings
from services.throttle.__main__ import MIGRATIONS, SCHEMA, SELF_VALIDATING, services
from services.throttle.store import Caps, Identities, Places, Subscriptions

KEY = "key-of-everything"
ACME_KEY = "key-of-acme"
EMAIL = channel_pb2.CHANNEL_EMAIL
WEBHOOK = channel_pb2.CHANNEL_WEBHOOK
PUSH = channel_pb2.CHANNEL_PUSH
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now

    def advance(self, span: timedelta) -> None:
        self._now += span


@dataclass
class Throttle:
    """What tests ask, in few words."""

    clock: FakeClock
    subscriptions: Subscriptions
    identities: Identities
    caps: Caps
    places: Places
    stub: "rpc.ThrottleServiceAsyncStub"
    caps_stub: "caps_rpc.FrequencyCapServiceAsyncStub"
    subscriptions_stub: "subscriptions_rpc.SubscriptionServiceAsyncStub"
    identities_stub: "identities_rpc.IdentityServiceAsyncStub"
    channel: grpc.aio.Channel
    acme_channel: grpc.aio.Channel
    workspace: str
    """Of the test's own."""

    def profile(self, profile_id: str) -> str:
        return f"workspaces/{self.workspace}/profiles/{profile_id}"

    def send(
        self,
        of: str,
        number: int | str,
        *,
        channel: "channel_pb2.Channel.ValueType" = EMAIL,
        critical: bool = False,
        time_zone: str = "",
        expire: timedelta = timedelta(hours=1),
    ) -> pb.Send:
        send = pb.Send(
            send_id=send_id(number),
            profile=self.profile(of),
            channel=channel,
            campaign=f"workspaces/{self.workspace}/campaigns/hello",
            critical=critical,
            time_zone=time_zone,
        )
        send.expire_time.FromDatetime(self.clock.now() + expire)
        return send

    async def reserve(self, *sends: pb.Send) -> list[pb.Verdict]:
        response = await self.stub.ReserveSends(pb.ReserveSendsRequest(sends=sends))
        return list(response.verdicts)

    async def answers(self, *sends: pb.Send) -> list[str | None]:
        return [verdict.WhichOneof("answer") for verdict in await self.reserve(*sends)]

    async def explain(self, of: str, *, time: datetime | None = None) -> pb.ExplainSendResponse:
        request = pb.ExplainSendRequest(profile=self.profile(of), channel=EMAIL)
        if time is not None:
            request.time.FromDatetime(time)
        return await self.stub.ExplainSend(request)

    async def settle(
        self, of: str, number: int | str, outcome: "pb.Settlement.Outcome.ValueType"
    ) -> None:
        settlement = pb.Settlement(
            send_id=send_id(number), profile=self.profile(of), outcome=outcome
        )
        await self.stub.SettleSends(pb.SettleSendsRequest(settlements=[settlement]))

    async def commit(self, of: str, number: int | str) -> None:
        await self.settle(of, number, pb.Settlement.OUTCOME_COMMITTED)

    async def release(self, of: str, number: int | str) -> None:
        await self.settle(of, number, pb.Settlement.OUTCOME_RELEASED)

    async def subscribe(
        self,
        *of: str,
        channel: "channel_pb2.Channel.ValueType" = EMAIL,
        state: "subscriptions_pb.Subscription.State.ValueType" = subscriptions_pb.Subscription.STATE_SUBSCRIBED,
    ) -> None:
        await self.subscriptions_stub.BatchUpdateSubscriptions(
            subscriptions_pb.BatchUpdateSubscriptionsRequest(
                parent=f"workspaces/{self.workspace}",
                subscriptions=[
                    subscriptions_pb.Subscription(
                        profile=self.profile(one), channel=channel, state=state
                    )
                    for one in of
                ],
            )
        )

    async def unsubscribe(self, *of: str) -> None:
        await self.subscribe(*of, state=subscriptions_pb.Subscription.STATE_UNSUBSCRIBED)

    async def unite(self, profile_id: str, *others: str, version: int = 1) -> None:
        identity = identities_pb.SetIdentitiesRequest.Identity(
            profile=self.profile(profile_id), member_ids=[profile_id, *others], version=version
        )
        await self.identities_stub.SetIdentities(
            identities_pb.SetIdentitiesRequest(identities=[identity])
        )

    async def erase(self, *of: str, number: int = 1) -> dict[str, int]:
        answer = await self.identities_stub.ErasePeople(
            identities_pb.ErasePeopleRequest(
                profiles=[self.profile(one) for one in of],
                erasure=f"workspaces/{self.workspace}/erasures/{UUID(int=number)}",
            )
        )
        return dict(answer.counts)

    def cap_name(self, cap_id: str) -> str:
        return f"workspaces/{self.workspace}/frequencyCaps/{cap_id}"

    async def cap(
        self,
        cap_id: str,
        limit: int,
        *,
        calendar: "caps_pb.FrequencyCap.CalendarWindow.ValueType | None" = None,
        rolling: timedelta | None = None,
        channel: "channel_pb2.Channel.ValueType" = channel_pb2.CHANNEL_UNSPECIFIED,
        defer: bool = False,
    ) -> caps_pb.FrequencyCap:
        message = caps_pb.FrequencyCap(
            name=self.cap_name(cap_id),
            channel=channel,
            limit=limit,
            on_breach=caps_pb.FrequencyCap.ON_BREACH_DEFER
            if defer
            else caps_pb.FrequencyCap.ON_BREACH_SUPPRESS,
        )
        if calendar is not None:
            message.calendar = calendar
        if rolling is not None:
            message.rolling.CopyFrom(Duration(seconds=rolling // timedelta(seconds=1)))
        return await self.caps_stub.UpdateFrequencyCap(
            caps_pb.UpdateFrequencyCapRequest(frequency_cap=message, allow_missing=True)
        )


def send_id(number: int | str) -> bytes:
    return uuid5(NAMESPACE_URL, str(number)).bytes


DAY = caps_pb.FrequencyCap.CALENDAR_WINDOW_DAY
WEEK = caps_pb.FrequencyCap.CALENDAR_WINDOW_WEEK


def running(
    postgres_url: str,
    redis_url: str,
    settings: ServerSettings,
    clock: FakeClock,
    workspace: str,
    *,
    by_shard: bool = False,
) -> AbstractAsyncContextManager[Throttle]:
    @asynccontextmanager
    async def run() -> AsyncIterator[Throttle]:
        await migrate(postgres_url, schema=SCHEMA, folder=MIGRATIONS)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            database = await enter(postgres.connect(postgres_url, schema=SCHEMA))
            counters = await enter(redis.connect(redis_url))
            subscriptions, caps = Subscriptions(database), Caps(database, clock)
            places, identities = Places(counters, by_shard=by_shard), Identities(database)
            served = services(
                subscriptions=subscriptions,
                identities=identities,
                caps=caps,
                places=places,
                tokens=PageTokens(b"a secret of tests"),
                clock=clock,
            )
            address = await enter(
                serving(
                    settings,
                    served,
                    checks={"postgres": database.ping, "redis": partial(redis.ping, counters)},
                    workers=[caps.listen],
                    self_validating=SELF_VALIDATING,
                )
            )
            channel = await enter(client.connect(address, key=KEY, service="throttle"))
            acme = await enter(client.connect(address, key=ACME_KEY, service="throttle"))
            yield Throttle(
                clock=clock,
                subscriptions=subscriptions,
                identities=identities,
                caps=caps,
                places=places,
                stub=rpc.ThrottleServiceStub(channel),
                caps_stub=caps_rpc.FrequencyCapServiceStub(channel),
                subscriptions_stub=subscriptions_rpc.SubscriptionServiceStub(channel),
                identities_stub=identities_rpc.IdentityServiceStub(channel),
                channel=channel,
                acme_channel=acme,
                workspace=workspace,
            )

    return run()
