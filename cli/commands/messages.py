"""`beckon messages`: messages on their way, and those that did not make it."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import CampaignFilter, Limit, ProfileFilter
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.delivery.v1.delivery_service_pb2 import Delivery
    from beckon.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Messages on their way, sent, or given up.")


async def _stub(session: Session) -> "DeliveryServiceAsyncStub":
    from beckon.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub

    return DeliveryServiceStub(await session.channel("delivery"))


@command(
    app,
    "list",
    examples="""
    beckon messages list --campaign abandoned-cart --limit 20
    beckon messages list --state failed -o json | jq -r .error | sort | uniq -c
    """,
)
async def list_(
    session: Session,
    *,
    profile: ProfileFilter = "",
    campaign: CampaignFilter = "",
    state: Annotated[
        list[str] | None,
        typer.Option("--state", "-s", help="pending, sent, failed, …; may be repeated."),
    ] = None,
    limit: Limit = None,
) -> None:
    """List messages, newest first."""
    from beckon.delivery.v1 import delivery_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListDeliveriesRequest(
        parent=session.parent,
        profile=session.name("profiles", profile) if profile else "",
        campaign=session.name("campaigns", campaign) if campaign else "",
        states=[_state(one) for one in state or ()],
    )
    columns = ("MESSAGE", "PROFILE", "CAMPAIGN", "CHANNEL", "STATE", "TRIES", "SENT", "ERROR")
    lines = Lines(session.output, columns)
    async for page in pages(
        stub.ListDeliveries, request, lambda found: found.deliveries, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no messages; `beckon decisions explain --profile …` tells why")


@command(app, "get", examples="beckon messages get 5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11")
async def get(
    session: Session, message: Annotated[str, typer.Argument(help="Id or name.")]
) -> None:
    """Show one message."""
    from beckon.delivery.v1 import delivery_service_pb2 as pb

    stub = await _stub(session)
    name = session.name("deliveries", message)
    found = await stub.GetDelivery(pb.GetDeliveryRequest(name=name))
    if session.json:
        write_json(as_dict(found))
        return
    for label, text in _facts(found):
        typer.echo(f"{label:<10} {text}")


@command(
    app,
    "redrive",
    examples="beckon messages redrive $(beckon messages list -s failed -o json | jq -r .name)",
)
async def redrive(
    session: Session,
    messages: Annotated[list[str], typer.Argument(help="Ids or names, at most 1,000.")],
    *,
    include_unknown: Annotated[
        bool,
        typer.Option(
            "--include-unknown", help="Those nobody knows about, too: they may arrive twice."
        ),
    ] = False,
) -> None:
    """Put failed messages back into the queue."""
    from beckon.delivery.v1 import delivery_service_pb2 as pb

    stub = await _stub(session)
    answer = await stub.RedriveDeliveries(
        pb.RedriveDeliveriesRequest(
            parent=session.parent,
            names=[session.name("deliveries", one) for one in messages],
            include_unknown=include_unknown,
        )
    )
    if session.json:
        write_json(as_dict(answer))
    else:
        typer.echo(f"{answer.redriven_count} back in the queue")


def _state(text: str) -> "Delivery.State.ValueType":
    from beckon.delivery.v1 import delivery_service_pb2 as pb

    known = {
        name.removeprefix("STATE_").lower(): number for name, number in pb.Delivery.State.items()
    }
    del known["unspecified"]
    if text.lower() not in known:
        raise usage(f"no message is ever {text!r}", hint=f"states: {', '.join(known)}")
    return known[text.lower()]


def _row(delivery: "Delivery") -> tuple[str, ...]:
    return (
        last(delivery.name),
        last(delivery.profile),
        last(delivery.campaign),
        enum_text(delivery, "channel"),
        enum_text(delivery, "state"),
        str(delivery.attempt_count),
        time_text(delivery.send_time),
        delivery.error,
    )


def _facts(delivery: "Delivery") -> list[tuple[str, str]]:
    return [
        ("message", last(delivery.name)),
        ("state", enum_text(delivery, "state")),
        ("profile", last(delivery.profile)),
        ("campaign", last(delivery.campaign)),
        ("channel", enum_text(delivery, "channel")),
        ("template", last(delivery.template)),
        ("tries", str(delivery.attempt_count)),
        ("error", delivery.error or "-"),
        ("provider", delivery.provider_message_id or "-"),
        ("created", time_text(delivery.create_time)),
        ("next try", time_text(delivery.next_attempt_time)),
        ("sent", time_text(delivery.send_time)),
        ("expires", time_text(delivery.expire_time)),
        ("trace", delivery.trace_id or "-"),
    ]
