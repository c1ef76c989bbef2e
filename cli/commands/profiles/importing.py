"""`beckon profiles import`: people by the million out of a file."""

from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from cli.commands.profiles.app import app, profiles_stub
from cli.commands.table_options import (
    Anew,
    Batch,
    Delimiter,
    Errors,
    FileArgument,
    Parallel,
    Resume,
)
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.profile.v1.profile_service_pb2 import PatchProfilesResponse, ProfilePatch

    from cli.tables.engine import Outcome


@command(
    app,
    "import",
    examples="""
    beckon profiles import customers.csv --id customer_no --type visits=number --dry-run
    beckon profiles import customers.csv --map mail=email --map note=- --errors refused.jsonl
    beckon profiles import points.parquet --operation points=increment --operation tags=append
    """,
)
async def import_(
    session: Session,
    file: FileArgument,
    *,
    id_column: Annotated[
        str, typer.Option("--id", metavar="COLUMN", help="Whose row it is. Default: `id`.")
    ] = "",
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            "-m",
            metavar="COLUMN=TARGET",
            help="An attribute, email, phone, time_zone, locale or id; `-` leaves it out."
            " Default: the attribute of its name.",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            metavar="COLUMN=TYPE",
            help="string, number, boolean, timestamp, list (JSON, or a|b|c) or object (JSON)."
            " Default: as the file has it; CSV knows strings only.",
        ),
    ] = None,
    operations: Annotated[
        list[str] | None,
        typer.Option(
            "--operation",
            metavar="COLUMN=OPERATION",
            help="set (default), set_once, increment or append.",
        ),
    ] = None,
    unset_empty: Annotated[
        bool,
        typer.Option("--unset-empty", help="An empty cell takes the attribute away."),
    ] = False,
    delimiter: Delimiter = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the service check every row; write nothing.")
    ] = False,
    batch: Batch = 1000,
    parallel: Parallel = 4,
    errors: Errors = None,
    resume: Resume = None,
    anew: Anew = False,
    unsure: Annotated[
        str,
        typer.Option(
            "--unsure",
            metavar="skip|repeat",
            help="What becomes of batches that were on their way when an import with increments"
            " stopped more than a day ago.",
        ),
    ] = "",
) -> None:
    """Bring profiles in from a table, in constant memory. Stopped, it goes on where it was.

    An import that is repeated, even after kill -9, does no row twice: not even an increment.
    """
    from beckon.profile.v1 import profile_service_pb2 as pb

    from cli.tables.mapping import column_map
    from cli.tables.rows import Row
    from cli.tables.run import Options, run_import

    columns = column_map(
        maps=maps or [],
        types=types or [],
        operations=operations or [],
        id_column=id_column,
        unset_empty=unset_empty,
    )
    stub = await profiles_stub(session)

    def patch_of(row: Row) -> "ProfilePatch":
        return columns.patch_of(row, session.parent)

    async def send(patches: "list[ProfilePatch]", request_id: str) -> "Outcome":
        request = pb.PatchProfilesRequest(
            parent=session.parent,
            patches=patches,
            # What is only tried is no request that is to be remembered.
            request_id=str(uuid4()) if dry_run else request_id,
            validate_only=dry_run,
        )
        return _outcome(await stub.PatchProfiles(request))

    options = Options(
        file=file,
        delimiter=delimiter,
        batch=batch,
        parallel=parallel,
        errors=errors,
        resume=resume,
        anew=anew,
        unsure=unsure,
        repeatable=columns.repeatable,
        columns=columns.mentioned(),
        settings={"workspace": session.workspace, "batch": batch, **columns.settings()},
        noun="profile",
        dry_run=dry_run,
    )
    await run_import(session, options, patch_of, send)


def _outcome(answer: "PatchProfilesResponse") -> "Outcome":
    from cli.tables.engine import Outcome

    return Outcome(
        created=answer.created_count,
        updated=answer.updated_count,
        unchanged=answer.unchanged_count,
        failed=answer.failed_patches,
    )
