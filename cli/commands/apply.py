"""`beckon apply`: campaigns, and all that they need, as files."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from beckon.trigger.v1.campaign_service_pb2 import InFlight

    from cli.manifests.apply import Result
    from cli.manifests.decode import Document
    from cli.manifests.places import Faults

_COLORS = {"created": "green", "updated": "yellow", "unchanged": None}


def add_to(app: typer.Typer) -> None:
    """Make `apply` a command of the app."""
    command(
        app,
        "apply",
        examples="""
        beckon apply examples/campaigns
        beckon apply cart.yaml caps.yaml --dry-run
        beckon apply cart.yaml --in-flight finish
        beckon apply examples/campaigns --set webhook_sink=https://crm.example.com
        """,
    )(apply)


class InFlightChoice(StrEnum):
    """What becomes of people on their way through a campaign that changes."""

    MIGRATE = "migrate"
    FINISH = "finish"
    EXIT = "exit"


Paths = Annotated[
    list[Path] | None, typer.Argument(help="YAML files, or folders of them.", show_default=False)
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", help="The same, as an option.", show_default=False),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=TEXT", help="What `${NAME}` stands for in the files."),
]
InFlightOption = Annotated[
    InFlightChoice | None,
    typer.Option(
        "--in-flight",
        help="People on their way through a changed campaign go on by the new content (migrate,"
        " the default), by the one they entered with (finish), or leave (exit).",
        show_default=False,
    ),
]


async def apply(
    session: Session,
    *,
    paths: Paths = None,
    files: Files = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would change.")
    ] = False,
    variables: Variables = None,
    in_flight: InFlightOption = None,
) -> None:
    """Bring about what YAML files say; say what changed. Twice is as once.

    Everything is checked, here and by the services, before anything is written. Files describe
    campaigns and all that they need; what no file names is left alone. `beckon plan` says
    beforehand what would change, and for whom.
    """
    from cli.manifests.apply import Applier
    from cli.manifests.places import Faults

    faults = Faults()
    documents = read(session, paths, files, variables, faults)
    applier = await Applier.of(session, in_flight=in_flight_of(in_flight))
    await applier.check(documents, faults)
    faults.require_none()
    if dry_run:
        results = await applier.plan(documents)
    else:
        results = await applier.apply(documents, faults)
    _write(session, results, dry_run=dry_run)
    faults.require_none()


def read(
    session: Session,
    paths: list[Path] | None,
    files: list[Path] | None,
    variables: list[str] | None,
    faults: "Faults",
) -> "list[Document]":
    """Return what files describe.

    Raises:
        Problem: They have faults, or describe nothing.
    """
    from cli.manifests.decode import decode_files
    from cli.manifests.read import find_files

    meant = [*(paths or ()), *(files or ())]
    if not meant:
        raise usage("which files?", hint="as in `beckon apply campaigns/`")
    documents = decode_files(
        find_files(meant),
        workspace=session.workspace,
        variables=_known(session) | parse_variables(variables or []),
        faults=faults,
    )
    faults.require_none()
    if not documents:
        raise usage("the files describe nothing", hint="each document needs a `kind` and an `id`")
    return documents


def in_flight_of(choice: InFlightChoice | None) -> "InFlight.ValueType":
    """Return the choice as the wire has it."""
    from beckon.trigger.v1.campaign_service_pb2 import InFlight

    word = "UNSPECIFIED" if choice is None else choice.value.upper()
    return InFlight.Value(f"IN_FLIGHT_{word}")


def parse_variables(pairs: list[str]) -> dict[str, str]:
    """Read `name=text`."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise usage(f"--set {pair!r} sets nothing", hint="expected NAME=TEXT")
        found[name] = text
    return found


def _known(session: Session) -> dict[str, str]:
    from stack.errors import StackError

    try:
        sink = session.stack.webhook_sink
    except StackError:
        return {}
    return {"webhook_sink": sink} if sink else {}


def _write(session: Session, results: "list[Result]", *, dry_run: bool) -> None:
    if session.json:
        for result in results:
            write_json(_document(result, dry_run=dry_run))
        return
    for result in results:
        line = f"{result.action:<9} {result.document.title}"
        notes = [*result.fields, *([result.moved] if result.moved else [])]
        typer.secho(line, fg=_COLORS[result.action], nl=False)
        typer.echo(f" ({', '.join(notes)})" if notes else "")
    changed = sum(result.changed for result in results)
    would = "would change" if dry_run else "changed"
    typer.secho(f"{len(results)} in the files, {changed} {would}", dim=True)


def _document(result: "Result", *, dry_run: bool) -> dict[str, Any]:
    return {
        "kind": result.document.kind.name,
        "name": result.document.name,
        "action": result.action,
        "fields": list(result.fields),
        "moved": result.moved,
        "state": result.state,
        "dry_run": dry_run,
    }
