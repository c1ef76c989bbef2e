"""`beckon subscriptions`: what people agreed to."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Lines, as_dict, enum_text, last, time_text
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.throttle.v1.subscription_service_pb2 import Subscription
    from beckon.throttle.v1.subscription_service_pb2_grpc import SubscriptionServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Subscriptions: who wants what, per channel.")

ProfileArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def _stub(session: Session) -> "SubscriptionServiceAsyncStub":
    from beckon.throttle.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

    return SubscriptionServiceStub(await session.channel("throttle"))


@command(app, "list", examples="beckon subscriptions list c-17850")
async def list_(session: Session, profile: ProfileArgument) -> None:
    """List a profile's subscriptions, one for each channel."""
    from beckon.throttle.v1 import subscription_service_pb2 as pb

    stub = await _stub(session)
    request = pb.ListSubscriptionsRequest(parent=session.name("profiles", profile))
    _write(session, list((await stub.ListSubscriptions(request)).subscriptions))


@command(
    app,
    "set",
    examples="""
    beckon subscriptions set c-17850 email=subscribed
    beckon subscriptions set c-17850 email=unsubscribed webhook=undecided
    """,
)
async def set_(
    session: Session,
    profile: ProfileArgument,
    states: Annotated[
        list[str],
        typer.Argument(help="CHANNEL=STATE: subscribed, unsubscribed or undecided."),
    ],
) -> None:
    """Set what a person said. Holds at once, also for messages that wait."""
    from beckon.throttle.v1 import subscription_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("profiles", profile)
    request = pb.BatchUpdateSubscriptionsRequest(
        parent=session.parent, subscriptions=[parse(name, text) for text in states]
    )
    _write(session, list((await stub.BatchUpdateSubscriptions(request)).subscriptions))


def parse(profile: str, text: str) -> "Subscription":
    """Read `email=subscribed`."""
    from beckon.throttle.v1 import subscription_service_pb2 as pb
    from beckon.type.v1 import channel_pb2

    channel, _, state = text.lower().partition("=")
    channels = {
        name.removeprefix("CHANNEL_").lower(): number
        for name, number in channel_pb2.Channel.items()
        if number
    }
    states = {
        name.removeprefix("STATE_").lower(): number
        for name, number in pb.Subscription.State.items()
        if number
    }
    if channel not in channels or state not in states:
        hint = f"expected CHANNEL=STATE; {', '.join(channels)}; {', '.join(states)}"
        raise usage(f"{text!r} is no subscription", hint=hint)
    return pb.Subscription(profile=profile, channel=channels[channel], state=states[state])


def _write(session: Session, subscriptions: "list[Subscription]") -> None:
    lines = Lines(session.output, ("PROFILE", "CHANNEL", "STATE", "CHANGED"))
    lines.write(subscriptions, _row, as_dict)


def _row(subscription: "Subscription") -> tuple[str, ...]:
    return (
        last(subscription.profile),
        enum_text(subscription, "channel"),
        enum_text(subscription, "state"),
        time_text(subscription.update_time),
    )
