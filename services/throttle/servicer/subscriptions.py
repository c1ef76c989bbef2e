"""Lists and sets what people agreed to."""

from collections.abc import Sequence
from dataclasses import replace

from beckon.throttle.v1 import subscription_service_pb2 as pb
from beckon.throttle.v1 import subscription_service_pb2_grpc as rpc

from mesh.clock import Clock
from mesh.names import parse_name
from services.throttle import convert
from services.throttle.model import Subscription
from services.throttle.rules import all_channels
from services.throttle.store import Subscriptions


class SubscriptionServicer(rpc.SubscriptionServiceServicer):
    def __init__(self, subscriptions: Subscriptions, *, clock: Clock) -> None:
        self._subscriptions = subscriptions
        self._clock = clock

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: object
    ) -> pb.ListSubscriptionsResponse:
        workspace, profile_id = parse_name(request.parent, "profiles", field="parent")
        decided = await self._subscriptions.of_profile(workspace, profile_id)
        listed = all_channels(workspace, profile_id, decided)
        return pb.ListSubscriptionsResponse(subscriptions=convert.subscription_messages(listed))

    async def BatchUpdateSubscriptions(
        self, request: pb.BatchUpdateSubscriptionsRequest, context: object
    ) -> pb.BatchUpdateSubscriptionsResponse:
        now = self._clock.now()
        asked = [replace(one, update_time=now) for one in convert.subscriptions(request)]
        await self._subscriptions.set(asked)
        # The later of two holds, also of two under different ids of one person.
        last = {(one.profile_id, one.channel): one for one in asked}
        stand = await self._standing([last[one.profile_id, one.channel] for one in asked])
        return pb.BatchUpdateSubscriptionsResponse(
            subscriptions=convert.subscription_messages(stand)
        )

    async def _standing(self, asked: Sequence[Subscription]) -> list[Subscription]:
        """Return what holds: of a person with several ids the most restrictive of all."""
        consents, persons = await self._subscriptions.consents(asked)
        return [
            replace(one, consent=consent) if place in persons else one
            for place, (one, consent) in enumerate(zip(asked, consents, strict=True))
        ]
