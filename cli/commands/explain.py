"""`beckon explain`: why somebody got a message of a campaign, or did not."""

from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.decisions import show
from cli.output import as_dict, last, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.decision_service_pb2 import DecisionExplanation


def add_to(app: typer.Typer) -> None:
    """Make `explain` a command of the app."""
    command(
        app,
        "explain",
        examples="""
        beckon explain --profile ana --campaign abandoned-cart
        beckon explain --profile ana --campaign abandoned-cart --event 536365
        beckon explain --profile ana --campaign abandoned-cart --time 2026-12-01T09:00:00Z -o json
        """,
    )(explain)


async def explain(
    session: Session,
    *,
    profile: Annotated[str, typer.Option("--profile", "-p", help="Who: id or name.")],
    campaign: Annotated[str, typer.Option("--campaign", "-c", help="Which: id or name.")],
    event: Annotated[str, typer.Option("--event", "-e", help="Because of this event.")] = "",
    time: Annotated[
        str, typer.Option("--time", help="Around then, an hour before and after.")
    ] = "",
) -> None:
    """Say why somebody got a message of a campaign, or did not.

    One sentence; then every gate that was asked with what was seen, the frequency cap that
    refused it with the messages that used it up, and where nothing is on record, what was found
    instead. Without an event and a time it is about the latest decision.
    """
    from beckon.trigger.v1 import decision_service_pb2 as pb
    from beckon.trigger.v1.decision_service_pb2_grpc import DecisionServiceStub

    from cli.durations import parse_time

    request = pb.ExplainDecisionRequest(
        profile=session.name("profiles", profile),
        campaign=session.name("campaigns", campaign),
        event_id=event,
    )
    if time:
        try:
            request.time.FromDatetime(parse_time(time).astimezone(UTC))
        except ValueError as error:
            raise usage(f"--time: {error}") from None
    stub = DecisionServiceStub(await session.channel("trigger"))
    found = await stub.ExplainDecision(request)
    if session.json:
        write_json(as_dict(found))
    else:
        _write(found)


def _write(found: "DecisionExplanation") -> None:
    typer.secho(found.summary, bold=True)
    for finding in found.findings:
        if found.summary.endswith(finding):
            continue  # It is the sentence already.
        typer.echo(f"  · {finding}")
    for decision in found.decisions:
        typer.echo()
        show(decision)
    if not found.HasField("cap"):
        return
    cap = found.cap
    typer.echo(f"\n{last(cap.frequency_cap)} takes {cap.limit}; used up by")
    for delivery in cap.deliveries:
        typer.echo(f"  message {last(delivery)}")
