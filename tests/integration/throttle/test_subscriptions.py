"""Makes sure that what people say is kept, all or nothing, and listed whole."""

import grpc
import grpc.aio
import pytest
from beckon.throttle.v1 import subscription_service_pb2 as pb
from beckon.throttle.v1 import subscription_service_pb2_grpc as rpc

from mesh.errors import violations_of
from tests.integration.throttle.world import EMAIL, NOON, PUSH, WEBHOOK, Throttle

SUBSCRIBED = pb.Subscription.STATE_SUBSCRIBED
UNSUBSCRIBED = pb.Subscription.STATE_UNSUBSCRIBED
UNDECIDED = pb.Subscription.STATE_UNDECIDED


def a_channel_of_tomorrow(subscription: pb.Subscription) -> pb.Subscription:
    setattr(subscription, "channel", 9)  # noqa: B010 — no number that mypy would take
    return subscription


async def listed(throttle: Throttle, of: str) -> list[tuple[int, int, bool]]:
    response = await throttle.subscriptions_stub.ListSubscriptions(
        pb.ListSubscriptionsRequest(parent=throttle.profile(of))
    )
    return [(one.channel, one.state, one.HasField("update_time")) for one in response.subscriptions]


async def refused(throttle: Throttle, *subscriptions: pb.Subscription) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await throttle.subscriptions_stub.BatchUpdateSubscriptions(
            pb.BatchUpdateSubscriptionsRequest(
                parent=f"workspaces/{throttle.workspace}", subscriptions=subscriptions
            )
        )
    return caught.value


async def test_every_channel_is_listed_decided_or_not(throttle: Throttle) -> None:
    await throttle.subscribe("ana")

    assert await listed(throttle, "ana") == [
        (EMAIL, SUBSCRIBED, True),
        (WEBHOOK, UNDECIDED, False),
    ]
    assert await listed(throttle, "nobody") == [
        (EMAIL, UNDECIDED, False),
        (WEBHOOK, UNDECIDED, False),
    ]


async def test_of_two_for_one_person_the_later_holds(throttle: Throttle) -> None:
    ana = throttle.profile("ana")

    response = await throttle.subscriptions_stub.BatchUpdateSubscriptions(
        pb.BatchUpdateSubscriptionsRequest(
            parent=f"workspaces/{throttle.workspace}",
            subscriptions=[
                pb.Subscription(profile=ana, channel=EMAIL, state=SUBSCRIBED),
                pb.Subscription(profile=ana, channel=WEBHOOK, state=SUBSCRIBED),
                pb.Subscription(profile=ana, channel=EMAIL, state=UNSUBSCRIBED),
            ],
        )
    )

    assert [(one.channel, one.state) for one in response.subscriptions] == [
        (EMAIL, UNSUBSCRIBED),
        (WEBHOOK, SUBSCRIBED),
        (EMAIL, UNSUBSCRIBED),
    ]
    assert response.subscriptions[0].update_time.ToSeconds() == NOON.timestamp()
    assert await listed(throttle, "ana") == [
        (EMAIL, UNSUBSCRIBED, True),
        (WEBHOOK, SUBSCRIBED, True),
    ]


async def test_a_foreign_profile_refuses_the_whole_batch(throttle: Throttle) -> None:
    error = await refused(
        throttle,
        pb.Subscription(profile=throttle.profile("ana"), channel=EMAIL, state=SUBSCRIBED),
        pb.Subscription(profile="workspaces/theirs/profiles/bob", channel=EMAIL, state=SUBSCRIBED),
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in violations_of(error)] == ["subscriptions[1].profile"]
    assert (EMAIL, UNDECIDED, False) in await listed(throttle, "ana")


async def test_a_person_who_takes_it_back_is_undecided(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.subscribe("ana", state=UNDECIDED)

    assert await throttle.answers(throttle.send("ana", 1)) == ["suppress"]


@pytest.mark.parametrize(
    ("subscription", "field"),
    [
        (pb.Subscription(channel=EMAIL), "subscriptions[0].state"),
        (pb.Subscription(state=SUBSCRIBED), "subscriptions[0].channel"),
        (a_channel_of_tomorrow(pb.Subscription(state=SUBSCRIBED)), "subscriptions[0].channel"),
        (pb.Subscription(state=SUBSCRIBED, channel=PUSH), "subscriptions[0].channel"),
    ],
)
async def test_a_bad_subscription_is_refused_by_field(
    throttle: Throttle, subscription: pb.Subscription, field: str
) -> None:
    subscription.profile = throttle.profile("ana")

    error = await refused(throttle, subscription)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [one.field for one in violations_of(error)]


@pytest.mark.parametrize("profile_id", ["", "a\0b", "a/b", "ü", "a" * 129])
async def test_a_profile_has_a_sane_id(throttle: Throttle, profile_id: str) -> None:
    error = await refused(
        throttle,
        pb.Subscription(profile=throttle.profile(profile_id), channel=EMAIL, state=SUBSCRIBED),
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_batch_over_the_limit_is_refused(throttle: Throttle) -> None:
    one = pb.Subscription(profile=throttle.profile("ana"), channel=EMAIL, state=SUBSCRIBED)

    assert (await refused(throttle, *[one] * 1001)).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refused(throttle)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_people_of_a_workspace_that_is_not_yours_are_closed(throttle: Throttle) -> None:
    stub = rpc.SubscriptionServiceStub(throttle.acme_channel)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListSubscriptions(pb.ListSubscriptionsRequest(parent=throttle.profile("ana")))

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
