"""`beckon profiles export`: one person with everything, or a segment as a table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.profiles.app import app
from cli.output import as_dict
from cli.problems import usage
from cli.session import Session, command

# None at all: a device, a pipe.
_LINES = (".jsonl", ".ndjson", "")


@command(
    app,
    "export",
    examples="""
    beckon profiles export ana --to ana.jsonl
    beckon profiles export --segment loyal --to loyal.parquet
    beckon profiles export --segment loyal | jq -r .email
    """,
)
async def export(
    session: Session,
    profile: Annotated[str, typer.Argument(help="Id or name of one person.")] = "",
    *,
    segment: Annotated[
        str, typer.Option("--segment", "-s", help="All members of this one instead.")
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="Write here: .jsonl; a segment also as .csv or .parquet. Default: stdout."
        ),
    ] = None,
) -> None:
    """Write out everything that is kept of one person, or the members of a segment.

    Of one person, in JSON Lines, each with what it is: profile, device, device_transfer, relation,
    event, subscription, decision, delivery; of all ids that are this person.
    """
    if bool(profile) == bool(segment):
        what = "one person and a segment" if profile else "whom?"
        raise usage(what, hint="a profile, or --segment")
    if profile and to is not None and to.suffix not in _LINES:
        raise usage(
            f"{to}: one person comes in JSON Lines, as each line is something else",
            hint="name it .jsonl",
        )
    count = await (
        _person(session, session.name("profiles", profile), to)
        if profile
        else _segment(session, session.name("segments", segment), to)
    )
    if to is not None and not session.json:
        noun = "item" if profile else "profile"
        typer.echo(f"{count:,} {noun}{'' if count == 1 else 's'} in {to}")


async def _person(session: Session, name: str, to: Path | None) -> int:
    from cli.exports.person import everything
    from cli.exports.tables import lines_in, output

    count = 0
    with output(to) as file, lines_in(file) as text:
        async for item in everything(session, name):
            text.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    return count


async def _segment(session: Session, segment: str, to: Path | None) -> int:
    from cli.exports.segment import columns, members
    from cli.exports.tables import output, writer_for
    from cli.progress import bar

    count = 0
    known = await columns(session)
    with (
        output(to) as file,
        writer_for(to, file, known) as writer,
        bar(session, "profiles", 0) as advance,
    ):
        async for profiles in members(session, segment):
            writer.write([as_dict(profile) for profile in profiles])
            count += len(profiles)
            advance(len(profiles), 0)
    return count
