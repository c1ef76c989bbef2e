"""`beckon up` and `beckon status`: a whole Beckon on this machine."""

import asyncio
import functools
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Lines, write_json
from cli.problems import Problem
from cli.session import Session, command, guarded, help_text

if TYPE_CHECKING:
    from stack.state import State


class Ports(StrEnum):
    """Which ports a stack takes."""

    FIXED = "fixed"
    AUTO = "auto"


def add_to(app: typer.Typer) -> None:
    """Make `up` and `status` commands of the app."""
    examples = "beckon up\nbeckon up --ports auto --state second"
    app.command("up", help=help_text(up.__doc__ or "", examples))(guarded(up))
    command(app, "status", examples="beckon status -o json")(status)


def up(
    *,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            "--stack",
            envvar="BECKON_STATE",
            help="Where to keep everything. Default: ./.beckon.",
        ),
    ] = None,
    ports: Annotated[
        Ports, typer.Option("--ports", help="The usual ports, or any that are free.")
    ] = Ports.FIXED,
    durable: Annotated[
        bool, typer.Option("--durable/--fast", help="Write to the disk before answering.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every log.")] = False,
) -> None:
    """Bring up PostgreSQL, Redis, the five services, mail and webhook sinks and a span collector.

    Runs until Ctrl-C; what dies comes back, and at the end nothing is left running. The data stays
    in the state folder. BECKON_DATABASE_URL and BECKON_REDIS_URL replace the embedded servers,
    BECKON_<NAME>_PORT moves a port.
    """
    from stack.errors import StackError
    from stack.up import Stack
    from stack.up import up as run

    stack = Stack(
        state,
        ports=ports.value,
        durable=durable,
        verbose=verbose,
        tell=functools.partial(typer.secho, dim=True),
    )
    try:
        asyncio.run(run(stack, announce=_announce))
    except StackError as error:
        raise Problem(str(error), reason="STACK_FAILED") from error
    typer.echo("stopped; the data is still there")


async def status(session: Session) -> None:
    """Say where everything of the local stack is, and whether it serves."""
    from stack.ready import serves

    state = session.stack
    serving = await asyncio.gather(*map(serves, state.services.values()))
    parts = [
        {"name": name, "address": address, "serving": alive}
        for (name, address), alive in zip(state.services.items(), serving, strict=True)
    ]
    if session.json:
        write_json(_document(state, parts))
    else:
        lines = Lines(session.output, ("SERVICE", "ADDRESS", "STATE", "LOG"))
        lines.write(
            parts,
            lambda part: (
                str(part["name"]),
                str(part["address"]),
                "serving" if part["serving"] else "DOWN",
                str(state.logs[str(part["name"])]),
            ),
            dict,
        )
        _around(state)
    if not all(serving):
        raise Problem("not everything serves", reason="NOT_SERVING", hint="the logs above say why")


def _announce(state: "State") -> None:
    typer.secho("\nBeckon is up.", bold=True)
    for name, address in state.services.items():
        typer.echo(f"  {name:<10} {address}")
    _around(state)
    typer.echo("\nIn another terminal:")
    if state.folder.resolve() != Path(".beckon").resolve():
        typer.echo(f"  export BECKON_STATE={shlex.quote(str(state.folder))}")
    typer.echo("  beckon apply -f examples/campaigns")
    typer.echo("  beckon inbox list")
    typer.secho("Ctrl-C stops everything.\n", bold=True)


def _around(state: "State") -> None:
    facts = {
        "mail sink": state.mail_sink,
        "webhooks": state.webhook_sink,
        "spans": state.collector,
        "key": state.key_files["admin"],
        "state": state.folder,
    }
    for label, fact in facts.items():
        if fact:
            typer.echo(f"  {label:<10} {fact}")


def _document(state: "State", parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "folder": str(state.folder),
        "pid": state.pid,
        "services": parts,
        "metrics": state.metrics,
        "mail_sink": state.mail_sink,
        "webhook_sink": state.webhook_sink,
        "collector": state.collector,
        "key_file": str(state.key_files["admin"]),
        "logs": {name: str(log) for name, log in state.logs.items()},
    }
