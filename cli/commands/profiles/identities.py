"""`beckon profiles merge`, `unmerge` and `merges`: which ids are one person."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import Limit
from cli.commands.profiles.app import ProfileArgument, app, identities_stub
from cli.commands.profiles.show import MERGE_COLUMNS, merge_row
from cli.output import Lines, as_dict, enum_text, last, write_json
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.identity_service_pb2 import Merge


@command(
    app,
    "merge",
    examples="""
    beckon profiles merge web-8f31 ana
    beckon profiles merge ana.old ana --reason 'ticket 4711: signed up twice'
    """,
)
async def merge(
    session: Session,
    from_: Annotated[str, typer.Argument(metavar="FROM", help="Whose name goes: id or name.")],
    into: Annotated[str, typer.Argument(help="Whose name stays: id or name.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="For the record.")] = "",
) -> None:
    """Say that two profiles are one person. Can be taken back."""
    from beckon.profile.v1 import identity_service_pb2 as pb

    stub = await identities_stub(session)
    request = pb.MergeProfilesRequest(into=session.name("profiles", into), reason=reason)
    setattr(request, "from", session.name("profiles", from_))
    _write(session, await stub.MergeProfiles(request))


@command(app, "unmerge", examples="beckon profiles unmerge 5f0c9d3e-0f5c-5c80-9f35-0b9b9d1f9a11")
async def unmerge(
    session: Session,
    merge: Annotated[str, typer.Argument(help="Id or name of the merge; `merges` lists them.")],
) -> None:
    """Take a merge back: each id gets what was recorded under it, before and since."""
    from beckon.profile.v1 import identity_service_pb2 as pb

    stub = await identities_stub(session)
    name = session.name("merges", merge)
    _write(session, await stub.UnmergeProfiles(pb.UnmergeProfilesRequest(name=name)))


@command(app, "merges", examples="beckon profiles merges ana")
async def merges(session: Session, profile: ProfileArgument, *, limit: Limit = None) -> None:
    """List how the ids of a profile came together, newest first; undone and refused ones, too."""
    from beckon.profile.v1 import identity_service_pb2 as pb

    from cli.pages import pages

    stub = await identities_stub(session)
    request = pb.ListMergesRequest(parent=session.name("profiles", profile))
    lines = Lines(session.output, MERGE_COLUMNS)
    async for page in pages(stub.ListMerges, request, lambda found: found.merges, limit=limit):
        lines.write(page, merge_row, as_dict)
    lines.end("no merges: this profile has but its own id")


def _write(session: Session, merge: "Merge") -> None:
    if session.json:
        write_json(as_dict(merge))
        return
    source, into = last(getattr(merge, "from")), last(merge.into)
    match enum_text(merge, "state"):
        case "live":
            typer.echo(f"{source} and {into} are one person")
        case "undone":
            typer.echo(f"{source} and {into} are no longer one person by this merge")
        case state:
            typer.echo(f"{source} and {into}: {state}, {merge.reason}")
    typer.secho(f"merge {last(merge.name)}", dim=True)
