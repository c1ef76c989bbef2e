"""Gathers all that the services keep of one person, item by item."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from beckon.delivery.v1 import delivery_service_pb2 as deliveries_pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as deliveries_rpc
from beckon.profile.v1 import profile_service_pb2 as profiles_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profiles_rpc
from beckon.throttle.v1 import subscription_service_pb2 as subscriptions_pb
from beckon.throttle.v1 import subscription_service_pb2_grpc as subscriptions_rpc
from beckon.trigger.v1 import decision_service_pb2 as decisions_pb
from beckon.trigger.v1 import decision_service_pb2_grpc as decisions_rpc

from cli.output import as_dict, last
from cli.pages import pages
from cli.session import Session

Item = Mapping[str, Any]
"""What it is → the thing as JSON has it."""


async def everything(session: Session, name: str) -> AsyncIterator[Item]:
    """Yield the profile first, then what is recorded under any of its ids, service by service."""
    profiles = profiles_rpc.ProfileServiceStub(await session.channel("profile"))
    names = [name]
    async for answer in profiles.ExportProfile(profiles_pb.ExportProfileRequest(name=name)):
        kind = answer.WhichOneof("item")
        if kind == "profile":
            ids = {one.profile_id for one in answer.profile.members}
            ids |= {last(answer.profile.profile.name), *answer.profile.profile.member_ids}
            names = [session.name("profiles", one) for one in sorted(ids)]
        if kind is not None:
            yield {kind: as_dict(getattr(answer, kind))}
    for one in names:
        async for subscription in _subscriptions(session, one):
            yield subscription
        async for decision in _decisions(session, one):
            yield decision
        async for delivery in _deliveries(session, one):
            yield delivery


async def _subscriptions(session: Session, name: str) -> AsyncIterator[Item]:
    stub = subscriptions_rpc.SubscriptionServiceStub(await session.channel("throttle"))
    answer = await stub.ListSubscriptions(subscriptions_pb.ListSubscriptionsRequest(parent=name))
    for one in answer.subscriptions:
        yield {"subscription": as_dict(one)}


async def _decisions(session: Session, name: str) -> AsyncIterator[Item]:
    stub = decisions_rpc.DecisionServiceStub(await session.channel("trigger"))
    request = decisions_pb.ListDecisionsRequest(parent=name)
    async for page in pages(stub.ListDecisions, request, lambda found: found.decisions):
        for one in page:
            yield {"decision": as_dict(one)}


async def _deliveries(session: Session, name: str) -> AsyncIterator[Item]:
    stub = deliveries_rpc.DeliveryServiceStub(await session.channel("delivery"))
    request = deliveries_pb.ListDeliveriesRequest(parent=session.parent, profile=name)
    async for page in pages(stub.ListDeliveries, request, lambda found: found.deliveries):
        for one in page:
            yield {"delivery": as_dict(one)}
