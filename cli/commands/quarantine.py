"""`beckon quarantine`: events that could not be judged."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.quarantine_service_pb2 import QuarantinedEvent
    from beckon.trigger.v1.quarantine_service_pb2_grpc import QuarantineServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Quarantine: events that could not be judged.")

_BATCH = 1000


async def _stub(session: Session) -> "QuarantineServiceAsyncStub":
    from beckon.trigger.v1.quarantine_service_pb2_grpc import QuarantineServiceStub

    return QuarantineServiceStub(await session.channel("trigger"))


@command(app, "list", examples="beckon quarantine list")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List quarantined events, oldest first."""
    from beckon.trigger.v1 import quarantine_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    request = pb.ListQuarantinedEventsRequest(parent=session.parent)
    lines = Lines(session.output, ("ID", "EVENT", "TYPE", "PROFILE", "SINCE", "REPLAY", "WHY"))
    async for page in pages(
        stub.ListQuarantinedEvents, request, lambda found: found.quarantined_events, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("nothing in quarantine")


@command(
    app,
    "replay",
    examples="""
    beckon quarantine replay 7f6c…
    beckon quarantine replay --all
    """,
)
async def replay(
    session: Session,
    events: Annotated[list[str] | None, typer.Argument(help="Ids or names.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are there.")] = False,
) -> None:
    """Have quarantined events judged again."""
    from beckon.trigger.v1 import quarantine_service_pb2 as pb

    if bool(events) == everything:
        raise usage("say which events, or --all")
    stub = await _stub(session)
    names = [session.name("quarantinedEvents", one) for one in events or ()]
    if everything:
        names = await _all_names(stub, session.parent)
    count = 0
    for start in range(0, len(names), _BATCH):
        request = pb.ReplayQuarantinedEventsRequest(
            parent=session.parent, names=names[start : start + _BATCH]
        )
        count += (await stub.ReplayQuarantinedEvents(request)).marked_count
    if session.json:
        write_json({"marked_count": count})
    else:
        typer.echo(f"{count} will be judged again within seconds")


async def _all_names(stub: "QuarantineServiceAsyncStub", parent: str) -> list[str]:
    from beckon.trigger.v1 import quarantine_service_pb2 as pb

    from cli.pages import pages

    request = pb.ListQuarantinedEventsRequest(parent=parent)
    return [
        event.name
        async for page in pages(
            stub.ListQuarantinedEvents, request, lambda found: found.quarantined_events
        )
        for event in page
    ]


def _row(event: "QuarantinedEvent") -> tuple[str, ...]:
    return (
        last(event.name),
        event.event_id or "-",
        event.type or "-",
        last(event.profile),
        time_text(event.create_time),
        time_text(event.replay_time),
        event.error.message,
    )
