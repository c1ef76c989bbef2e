"""`beckon profiles erase` and `erasures`: the right to be forgotten."""

import asyncio
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Limit
from cli.commands.profiles.app import ProfileArgument, app, erasures_stub
from cli.commands.profiles.show import counts_text, write_receipt
from cli.output import Lines, as_dict, enum_text, last, time_text
from cli.problems import Problem, usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.erasure_service_pb2 import Erasure
    from beckon.profile.v1.erasure_service_pb2_grpc import ErasureServiceAsyncStub

# The other services answer within a second, unless they are away.
_LOOK_SECONDS = 0.3
_SERVICES = 4

erasures = typer.Typer(no_args_is_help=True, help="Receipts: what was removed where.")
app.add_typer(erasures, name="erasures")


@command(
    app,
    "erase",
    examples="""
    beckon profiles erase ana --dry-run
    beckon profiles erase ana --reason 'request 4711' --yes --wait
    """,
)
async def erase(
    session: Session,
    profile: ProfileArgument,
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="For the record; must not name the person.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what profile would remove.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until every service has removed its part.")
    ] = False,
    patience: Annotated[
        int, typer.Option("--patience", min=1, help="Seconds to wait at most.")
    ] = 60,
) -> None:
    """Erase a person with all ids, everywhere. Cannot be taken back. Prints the receipt.

    Events of this person that come later are refused for 30 days, or as the deployment says.
    """
    from beckon.profile.v1 import erasure_service_pb2 as pb

    stub = await erasures_stub(session)
    name = session.name("profiles", profile)
    if not dry_run and not yes:
        _ask(session, last(name))
    request = pb.CreateErasureRequest(profile=name, reason=reason, validate_only=dry_run)
    receipt = await stub.CreateErasure(request)
    if wait and not dry_run:
        receipt = await _completed(session, stub, receipt, patience)
    write_receipt(session, receipt)


@command(erasures, "list", examples="beckon profiles erasures list --limit 10")
async def list_(session: Session, *, limit: Limit = None) -> None:
    """List receipts, newest first."""
    from beckon.profile.v1 import erasure_service_pb2 as pb

    from cli.pages import pages

    stub = await erasures_stub(session)
    request = pb.ListErasuresRequest(parent=session.parent)
    columns = ("ERASURE", "STATE", "ASKED FOR", "COMPLETE", "REFUSED", "REMOVED", "REASON")
    lines = Lines(session.output, columns)
    async for page in pages(stub.ListErasures, request, lambda found: found.erasures, limit=limit):
        lines.write(page, _row, as_dict)
    lines.end("nobody was erased")


@command(
    erasures, "get", examples="beckon profiles erasures get 5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11"
)
async def get(
    session: Session, erasure: Annotated[str, typer.Argument(help="Id or name.")]
) -> None:
    """Show one receipt: what was removed where."""
    from beckon.profile.v1 import erasure_service_pb2 as pb

    stub = await erasures_stub(session)
    name = session.name("erasures", erasure)
    write_receipt(session, await stub.GetErasure(pb.GetErasureRequest(name=name)))


def _ask(session: Session, profile: str) -> None:
    if session.json or not sys.stdin.isatty():
        raise usage(
            "an erasure cannot be taken back", hint="--yes says that it is meant; --dry-run counts"
        )
    typer.confirm(f"Erase {profile} for good?", abort=True, err=True)


async def _completed(
    session: Session, stub: "ErasureServiceAsyncStub", receipt: "Erasure", patience: int
) -> "Erasure":
    """Return the receipt once all services have answered.

    Raises:
        Problem: One stays away; the erasure goes on without us.
    """
    from beckon.profile.v1 import erasure_service_pb2 as pb

    looks = int(patience / _LOOK_SECONDS)
    with _status(session) as status:
        while receipt.state != pb.Erasure.STATE_COMPLETE and looks > 0:
            looks -= 1
            if status is not None:
                status.update(f"{len(receipt.removals)} of {_SERVICES} services have answered")
            await asyncio.sleep(_LOOK_SECONDS)
            receipt = await stub.GetErasure(pb.GetErasureRequest(name=receipt.name))
    if receipt.state == pb.Erasure.STATE_COMPLETE:
        return receipt
    answered = {removal.service for removal in receipt.removals}
    raise Problem(
        f"not complete after {patience} s; answered: {', '.join(sorted(answered)) or 'nobody'}",
        reason="ERASURE_RUNNING",
        hint=f"it goes on; `beckon profiles erasures get {last(receipt.name)}` tells how far it is",
    )


def _status(session: Session) -> AbstractContextManager[Any]:
    if session.json or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("telling the services")


def _row(erasure: "Erasure") -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for removal in erasure.removals:
        for kind, count in removal.counts.items():
            counts[kind] = counts.get(kind, 0) + count
    return (
        last(erasure.name),
        enum_text(erasure, "state"),
        time_text(erasure.create_time),
        time_text(erasure.complete_time),
        str(erasure.refused_event_count),
        counts_text(counts),
        erasure.reason,
    )
