"""`beckon demo`: from nothing to messages sent, and the proof that each arrived once."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.problems import Problem, usage
from cli.session import guarded, help_text

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def add_to(app: typer.Typer) -> None:
    """Make `demo` a command of the app."""
    examples = "beckon demo\nbeckon demo --delay 60s    # on a slow machine"
    app.command("demo", help=help_text(demo.__doc__ or "", examples))(guarded(demo))


def demo(
    *,
    examples: Annotated[
        Path, typer.Option("--examples", help="Folder with campaigns and events.")
    ] = EXAMPLES,
    delay: Annotated[
        str, typer.Option("--delay", help="How long the first message waits. Default: 20s.")
    ] = "",
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep the stack's data here. Default: nowhere.")
    ] = None,
) -> None:
    """Show everything at work: a whole stack, real orders, four stories, what arrived, one trace.

    The orders of December 2010 of a real shop are squeezed into the seconds before now and streamed
    over gRPC; beside them people comment, look at a sale, fall silent and like photos. Its last
    line compares what arrived at the sinks with what code that knows nothing of the services works
    out from the same input; it exits with 0 only if nothing is lost or double.
    """
    from cli.demo.run import RULES, Settings, play, slower
    from cli.durations import parse_duration
    from cli.session import run_guarded
    from mesh.clock import SystemClock

    if not (examples / "events").is_dir():
        raise usage(f"no events in {examples}", hint="--examples names the folder of a checkout")
    if state is not None and (state / "state").exists():
        raise usage(f"{state} has seen a demonstration", hint="name an empty folder, or none")
    try:
        rules = slower(RULES, parse_duration(delay)) if delay else RULES
    except ValueError as error:
        raise usage(f"--delay: {error}") from error
    settings = Settings(examples=examples, rules=rules, folder=state)
    try:
        good = asyncio.run(_until_told(run_guarded(play(settings, SystemClock()))))
    except asyncio.CancelledError:
        raise Problem("stopped before its end; nothing is left running") from None
    if not good:
        raise typer.Exit(1)


async def _until_told(work: Coroutine[Any, Any, bool]) -> bool:
    """Await work; on SIGTERM let it clean up first."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await work
