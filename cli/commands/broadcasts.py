"""`beckon broadcasts`: what goes out to many, and where everybody is."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from cli.commands.options import Limit
from cli.output import Lines, as_dict, enum_text, last, time_text, write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.broadcast_service_pb2 import Broadcast
    from beckon.trigger.v1.broadcast_service_pb2_grpc import BroadcastServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Broadcasts: one message to many.")

BroadcastArgument = Annotated[
    str, typer.Argument(help="Name, as `beckon broadcasts list` shows it: CAMPAIGN/ID.")
]
_EVERY_SECONDS = 1.0


async def _stub(session: Session) -> "BroadcastServiceAsyncStub":
    from beckon.trigger.v1.broadcast_service_pb2_grpc import BroadcastServiceStub

    return BroadcastServiceStub(await session.channel("trigger"))


@command(app, "list", examples="beckon broadcasts list --campaign product-update")
async def list_(
    session: Session,
    *,
    campaign: Annotated[str, typer.Option("--campaign", help="Only of this one.")] = "-",
    limit: Limit = None,
) -> None:
    """List broadcasts, newest first."""
    from beckon.trigger.v1 import broadcast_service_pb2 as pb

    from cli.pages import pages

    stub = await _stub(session)
    parent = session.name("campaigns", campaign)
    request = pb.ListBroadcastsRequest(parent=parent)
    lines = Lines(session.output, ("BROADCAST", "STATE", "BEGINS", "ENDED", "EVENT"))
    async for page in pages(
        stub.ListBroadcasts, request, lambda found: found.broadcasts, limit=limit
    ):
        lines.write(page, _row, as_dict)
    lines.end("no broadcasts; a campaign with a schedule, or to a relation, makes some")


@command(app, "get", examples="beckon broadcasts get product-update/0f4c…")
async def get(session: Session, broadcast: BroadcastArgument) -> None:
    """Show a broadcast with its account."""
    from beckon.trigger.v1 import broadcast_service_pb2 as pb

    stub = await _stub(session)
    name = _name(session, broadcast)
    _show(session, await stub.GetBroadcast(pb.GetBroadcastRequest(name=name)))


@command(app, "watch", examples="beckon broadcasts watch product-update/0f4c…")
async def watch(session: Session, broadcast: BroadcastArgument) -> None:
    """Look at a broadcast until nobody is pending."""
    from beckon.trigger.v1 import broadcast_service_pb2 as pb

    stub = await _stub(session)
    request = pb.GetBroadcastRequest(name=_name(session, broadcast))
    with _progress(session) as show:
        while True:
            found = await stub.GetBroadcast(request)
            show(found)
            if found.HasField("end_time"):
                break
            await asyncio.sleep(_EVERY_SECONDS)
    _show(session, found)


@command(app, "cancel", examples="beckon broadcasts cancel product-update/0f4c…")
async def cancel(session: Session, broadcast: BroadcastArgument) -> None:
    """End a broadcast; what was released goes out."""
    from beckon.trigger.v1 import broadcast_service_pb2 as pb

    stub = await _stub(session)
    name = _name(session, broadcast)
    found = await stub.CancelBroadcast(pb.CancelBroadcastRequest(name=name))
    if session.json:
        write_json(as_dict(found))
    else:
        typer.echo(f"{_short(found.name)} is {enum_text(found, 'state')}")


class _Shows(Protocol):
    def __call__(self, found: "Broadcast", /) -> None: ...


@contextmanager
def _progress(session: Session) -> Iterator[_Shows]:
    """Yield what shows how far a broadcast is; to nobody where nobody watches."""
    if session.json or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(found: "Broadcast") -> None:
            account = found.account
            done = account.audience_count - account.pending_count
            progress.update(
                task,
                completed=done,
                total=account.audience_count or None,
                description=f"{enum_text(found, 'state')}{'' if found.counted else ', counting'}",
            )

        yield show


def _show(session: Session, found: "Broadcast") -> None:
    if session.json:
        write_json(as_dict(found))
        return
    account = found.account
    typer.echo(f"{_short(found.name)}  {enum_text(found, 'state')}, {time_text(found.start_time)}")
    if found.error:
        typer.echo(f"  stands still: {found.error}")
    more = "" if found.counted else " so far"
    typer.echo(f"  {account.audience_count:,} people{more}")
    typer.echo(f"  {account.sent_count:,} sent")
    for gate, count in sorted(account.suppressed.items()):
        typer.echo(f"  {count:,} refused by {gate}")
    for reason, count in sorted(account.failed.items()):
        typer.echo(f"  {count:,} failed: {reason}")
    typer.echo(f"  {account.pending_count:,} pending")


def _row(found: "Broadcast") -> tuple[str, ...]:
    return (
        _short(found.name),
        enum_text(found, "state"),
        time_text(found.start_time),
        time_text(found.end_time) if found.HasField("end_time") else "-",
        found.event_id or "-",
    )


def _short(name: str) -> str:
    parent, _, id_ = name.partition("/broadcasts/")
    return f"{last(parent)}/{id_}"


def _name(session: Session, given: str) -> str:
    if given.startswith("workspaces/"):
        return given
    campaign, slash, id_ = given.partition("/")
    if not slash:
        raise usage(f"{given} names no broadcast: CAMPAIGN/ID, as `beckon broadcasts list` shows")
    return f"{session.name('campaigns', campaign)}/broadcasts/{id_}"
