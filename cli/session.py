"""What every command has: its output format, its workspace, and the way to the services."""

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import typer

from cli.output import Format
from cli.problems import Problem, explain, refusal_of, tell, usage

if TYPE_CHECKING:
    import grpc.aio

    from stack.state import State

SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")

OutputOption = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        envvar="BECKON_OUTPUT",
        help="For people or for programs.",
        show_envvar=False,
    ),
]
WorkspaceOption = Annotated[
    str,
    typer.Option("--workspace", "-w", envvar="BECKON_WORKSPACE", help="Whose data."),
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="BECKON_TARGET",
        metavar="ADDRESS",
        help="HOST:PORT of all services, or `ingest=HOST:PORT,…`. Default: the local stack.",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key-file", envvar="BECKON_KEY_FILE", help="File that holds the API key."),
]
StackOption = Annotated[
    Path | None,
    typer.Option(
        "--stack",
        envvar="BECKON_STATE",
        help="State folder of the local stack. Default: ./.beckon.",
    ),
]


class Session:
    """One run of a command."""

    def __init__(
        self,
        *,
        output: Format = Format.TABLE,
        workspace: str = "main",
        target: str = "",
        key_file: Path | None = None,
        stack: Path | None = None,
    ) -> None:
        """Take what the command line and the environment say."""
        self.output = output
        self.workspace = workspace
        self._targets = parse_targets(target)
        self._key_file = key_file
        self._folder = stack
        self._exit = AsyncExitStack()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.last_service = ""
        """Whom a failed call was for, to say so."""

    @property
    def json(self) -> bool:
        """Whether a program reads what we write."""
        return self.output is Format.JSON

    @property
    def parent(self) -> str:
        """`workspaces/{workspace}`."""
        return f"workspaces/{self.workspace}"

    def name(self, collection: str, identifier: str) -> str:
        """Return the full name of a resource; a full name is left as it is."""
        if identifier.startswith("workspaces/"):
            return identifier
        return f"{self.parent}/{collection}/{identifier}"

    @functools.cached_property
    def stack(self) -> "State":
        """The local stack.

        Raises:
            StackError: None runs.
        """
        from stack import state

        return state.read(self._folder)

    async def channel(self, service: str) -> "grpc.aio.Channel":
        """Return a channel to a service, open until the session ends."""
        from mesh.client import connect

        self.last_service = service
        if service not in self._channels:
            opening = connect(self._target(service), key=self._key(), service=service)
            self._channels[service] = await self._exit.enter_async_context(opening)
        return self._channels[service]

    def _target(self, service: str) -> str:
        return self._targets.get(service) or self._targets.get("") or self.stack.services[service]

    def _key(self) -> str:
        if key := os.environ.get("BECKON_KEY"):
            return key
        if self._key_file is not None:
            try:
                return self._key_file.read_text().strip()
            except OSError as error:
                raise usage(f"cannot read the key: {error}") from error
        return self.stack.admin_key

    async def __aenter__(self) -> Self:
        """Open nothing yet: channels open when a command asks for them."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every channel."""
        await self._exit.aclose()


def parse_targets(text: str) -> dict[str, str]:
    """Read `HOST:PORT` (all services, under '') or `service=HOST:PORT,…`."""
    targets: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        service, _, address = part.rpartition("=")
        if service and service not in SERVICES:
            raise usage(f"--target names {service!r}", hint=f"services: {', '.join(SERVICES)}")
        if not address.rpartition(":")[2].isdecimal():
            raise usage(f"--target is {part!r}", hint="expected HOST:PORT or SERVICE=HOST:PORT")
        targets[service] = address
    return targets


Done = TypeVar("Done")
Command = Callable[..., Coroutine[Any, Any, None]]


def command(
    app: typer.Typer, name: str, *, examples: str = ""
) -> Callable[[Command], Callable[..., None]]:
    """Make an async function a command of an app, with the options that all commands share.

    Its first parameter is the session; the others are the command's own.
    """

    def add(function: Command) -> Callable[..., None]:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[1:]
        shared = list(inspect.signature(_shared).parameters.values())

        def run(**values: Any) -> None:
            options = {one.name: values.pop(one.name) for one in shared}
            asyncio.run(_run(function, _shared(**options), values))

        run.__name__ = function.__name__
        run.__doc__ = help_text(function.__doc__ or "", examples)
        run.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name)(guarded(run))
        return run

    return add


def guarded(run: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every known way to fail turned into words and an exit code."""

    @functools.wraps(run)
    def safe(**values: Any) -> None:
        as_json = values.get("output") is Format.JSON
        try:
            run(**values)
        except Problem as problem:
            tell(problem, as_json=as_json)
            raise typer.Exit(problem.exit_code) from None
        except BrokenPipeError:
            # `beckon ... | head` is no error; nobody is left to read what Python would flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None

    safe.__signature__ = inspect.signature(run)  # type: ignore[attr-defined]
    return safe


async def _run(function: Command, session: Session, values: dict[str, Any]) -> None:
    async with session:
        await run_guarded(function(session, **values), session)


async def run_guarded(work: Coroutine[Any, Any, Done], session: Session | None = None) -> Done:
    """Await work; turn what services and stack refuse into problems.

    Raises:
        Problem: Saying what was refused, and what would help.
    """
    import grpc.aio

    from mesh.errors import MeshError
    from stack.errors import StackError

    try:
        return await work
    except grpc.aio.AioRpcError as error:
        service = session.last_service if session is not None else ""
        raise explain(refusal_of(error), service=service) from error
    except StackError as error:
        raise Problem(str(error), reason="STACK") from error
    except MeshError as error:
        raise Problem(error.message, reason="FIELD_INVALID") from error


def _shared(
    *,
    output: OutputOption = Format.TABLE,
    workspace: WorkspaceOption = "main",
    target: TargetOption = "",
    key_file: KeyOption = None,
    stack: StackOption = None,
) -> Session:
    return Session(
        output=output, workspace=workspace, target=target, key_file=key_file, stack=stack
    )


def help_text(text: str, examples: str) -> str:
    """Return a docstring and examples as typer shows them best."""
    paragraphs = [" ".join(one.split()) for one in inspect.cleandoc(text).split("\n\n")]
    if examples:
        # \b keeps click from filling the lines.
        paragraphs.append(f"\b\nExamples:\n{inspect.cleandoc(examples)}")
    return "\n\n".join(paragraphs)
