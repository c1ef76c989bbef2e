"""`beckon decisions`: why somebody got a message, or did not."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import CampaignFilter
from cli.output import as_dict, enum_text, last, time_text, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.decision_service_pb2 import Decision

app = typer.Typer(no_args_is_help=True, help="Decisions: why somebody got a message, or did not.")

_COLORS = {
    "refused": "red",
    "exited": "red",
    "waiting": "yellow",
    "sending": "yellow",
    "sent": "green",
}


@command(
    app,
    "explain",
    examples="""
    beckon decisions explain --profile c-17850
    beckon decisions explain --profile c-17850 --campaign abandoned-cart --limit 1
    beckon decisions explain --profile c-17850 --event 536365 -o json
    """,
)
async def explain(
    session: Session,
    *,
    profile: Annotated[str, typer.Option("--profile", "-p", help="Whose: id or name.")],
    campaign: CampaignFilter = "",
    event: Annotated[str, typer.Option("--event", "-e", help="Only about this event.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")
    ] = 10,
) -> None:
    """Show every gate that was asked about a person, campaign by campaign, newest first."""
    from beckon.trigger.v1 import decision_service_pb2 as pb
    from beckon.trigger.v1.decision_service_pb2_grpc import DecisionServiceStub

    from cli.pages import pages

    stub = DecisionServiceStub(await session.channel("trigger"))
    request = pb.ListDecisionsRequest(
        parent=session.name("profiles", profile),
        campaign=session.name("campaigns", campaign) if campaign else "",
        event_id=event,
    )
    count = 0
    async for page in pages(
        stub.ListDecisions, request, lambda found: found.decisions, limit=limit or None
    ):
        for decision in page:
            count += 1
            if session.json:
                write_json(as_dict(decision))
            else:
                show(decision)
    if not count and not session.json:
        typer.secho(
            "no decisions: no active campaign wants what this person did", dim=True, err=True
        )


def show(decision: "Decision") -> None:
    """Write a decision with its gates, for people."""
    state = enum_text(decision, "state")
    typer.secho(f"{last(decision.campaign)} v{decision.campaign_version}", bold=True, nl=False)
    typer.echo(f"  event {decision.event_id}  {time_text(decision.decide_time)}  ", nl=False)
    typer.secho(state, fg=_COLORS.get(state), nl=False)
    typer.echo(_fate(decision))
    width = max((len(gate.name) for gate in decision.gates), default=0)
    for index, gate in enumerate(decision.gates):
        if index and gate.name == decision.gates[0].name:
            typer.secho("  when it was due:", dim=True)
        mark = typer.style("✓", fg="green") if gate.passed else typer.style("✗", fg="red")
        typer.echo(f"  {mark} {gate.name:<{width}}  {gate.detail}")
    if decision.delivery:
        typer.secho(f"    message {last(decision.delivery)}", dim=True)
    if decision.trace_id:
        typer.secho(f"    trace   {decision.trace_id}", dim=True)


def _fate(decision: "Decision") -> str:
    """Say in a few words what the last gate means."""
    refused = [gate for gate in decision.gates if not gate.passed]
    match enum_text(decision, "state"):
        case "refused" | "exited" if refused:
            return f" by {refused[-1].name}"
        case "waiting":
            return f" until {time_text(decision.due_time)}"
        case "sent":
            # What became of it there is the message's own story.
            return " to delivery"
        case _:
            return ""
