"""`beckon apply`: campaigns, templates and caps as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import write_json
from cli.problems import usage
from cli.session import Session, command

if TYPE_CHECKING:
    from cli.manifests.apply import Result

_COLORS = {"created": "green", "updated": "yellow", "unchanged": None}


def add_to(app: typer.Typer) -> None:
    """Make `apply` a command of the app."""
    command(
        app,
        "apply",
        examples="""
        beckon apply -f examples/campaigns
        beckon apply -f cart.yaml -f caps.yaml --dry-run
        beckon apply -f examples/campaigns --set webhook_sink=https://crm.example.com
        """,
    )(apply)


async def apply(
    session: Session,
    *,
    files: Annotated[
        list[Path], typer.Option("--file", "-f", help="A YAML file, or a folder of them.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would change.")
    ] = False,
    variables: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=TEXT", help="What `${NAME}` stands for in the files."),
    ] = None,
) -> None:
    """Bring about what YAML files say; say what changed. Twice is as once.

    Everything is checked, here and by the services, before anything is written. Files describe
    templates, campaigns and frequency caps; what no file names is left alone.
    """
    from cli.manifests.apply import Applier
    from cli.manifests.decode import decode_files
    from cli.manifests.places import Faults
    from cli.manifests.read import find_files

    faults = Faults()
    documents = decode_files(
        find_files(files),
        workspace=session.workspace,
        variables=_known(session) | parse_variables(variables or []),
        faults=faults,
    )
    faults.require_none()
    if not documents:
        raise usage("the files describe nothing", hint="each document needs a `kind` and an `id`")
    applier = await Applier.of(session)
    await applier.check(documents, faults)
    faults.require_none()
    if dry_run:
        results = await applier.plan(documents)
    else:
        results = await applier.apply(documents, faults)
    _write(session, results, dry_run=dry_run)
    faults.require_none()


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
        "name": result.document.message.name,  # type: ignore[attr-defined]
        "action": result.action,
        "fields": list(result.fields),
        "moved": result.moved,
        "state": result.state,
        "dry_run": dry_run,
    }
