"""`beckon test`: plays scenario files on a virtual clock, without a server."""

from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from cli.problems import USAGE, usage
from cli.session import guarded, help_text

if TYPE_CHECKING:
    from cli.scenarios.report import Result
    from simulator.scenario import Scenario

_LINE_MAX = 60


class Output(StrEnum):
    """For whom."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


def add_to(app: typer.Typer) -> None:
    """Make `test` a command of the app."""
    examples = """
    beckon test scenarios/
    beckon test scenarios/cart.yaml -v -k "bought in time"
    beckon test scenarios/ -x --output junit > scenarios.xml
    """
    app.command("test", help=help_text(try_out.__doc__ or "", examples))(guarded(try_out))


def try_out(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Scenario files, or folders of them.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every scenario.")] = False,
    keyword: Annotated[
        str, typer.Option("--keyword", "-k", help="Only scenarios whose name or file has this.")
    ] = "",
    first: Annotated[
        bool, typer.Option("--exitfirst", "-x", help="Stop at the first that fails.")
    ] = False,
    output: Annotated[
        Output,
        typer.Option(
            "--output",
            "-o",
            envvar="BECKON_OUTPUT",
            help="For people, for programs, or for build servers.",
            show_envvar=False,
        ),
    ] = Output.TABLE,
) -> None:
    """Play scenarios: these people, these events at these times, then exactly these messages.

    Campaigns are judged by the code that judges them in production, on a clock that jumps from one
    moment at which something is due to the next: no server is needed, and days take milliseconds.

    Exits with 0 if all is as expected, with 1 if not, with 2 if a file is wrong.
    """
    from cli.manifests.places import Faults
    from cli.manifests.read import find_files
    from cli.scenarios import report
    from cli.scenarios.decode import decode_scenarios

    begun = perf_counter()
    faults = Faults()
    scenarios = decode_scenarios(find_files(paths), faults)
    faults.require_none(so="nothing was played", exit_code=USAGE)
    chosen = [one for one in scenarios if keyword.lower() in f"{one.name} {one.place}".lower()]
    if not chosen:
        raise usage("no scenario", hint=f"of {len(scenarios)}, none has {keyword!r}")
    results = _played(chosen, first=first, tell=output is Output.TABLE, verbose=verbose)
    seconds = perf_counter() - begun
    match output:
        case Output.TABLE:
            report.show(results, seconds=seconds)
        case Output.JSON:
            report.show_json(results)
        case Output.JUNIT:
            report.show_junit(results, seconds=seconds)
    if any(one.word != "passed" for one in results):
        raise typer.Exit(1)


def _played(
    scenarios: "list[Scenario]", *, first: bool, tell: bool, verbose: bool
) -> "list[Result]":
    results: list[Result] = []
    file, column = "", 0
    for scenario in scenarios:
        result = _play(scenario)
        results.append(result)
        if tell and verbose:
            color = "green" if result.word == "passed" else "red"
            typer.secho(f"{result.word:<6} ", fg=color, nl=False)
            typer.echo(f"{scenario.place}  {scenario.name}")
        elif tell:
            if result.file != file:
                typer.echo(("\n" if file else "") + f"{result.file} ", nl=False)
                file, column = result.file, 0
            elif column % _LINE_MAX == 0:
                typer.echo()
            column += 1
            _dot(result)
        if first and result.word != "passed":
            break
    if tell and not verbose:
        typer.echo()
    return results


def _dot(result: "Result") -> None:
    if result.word == "passed":
        typer.secho(".", fg="green", nl=False)
    else:
        typer.secho(result.word[0].upper(), fg="red", bold=True, nl=False)


def _play(scenario: "Scenario") -> "Result":
    from cli.scenarios.report import Result
    from mesh.errors import MeshError
    from simulator.play import NotPlayed, play

    begun = perf_counter()
    try:
        outcome = play(scenario)
    except NotPlayed as error:
        place = error.place or scenario.place
        return Result(scenario, perf_counter() - begun, error=error.text, place=place)
    except MeshError as error:
        return Result(scenario, perf_counter() - begun, error=error.message, place=scenario.place)
    return Result(scenario, perf_counter() - begun, outcome)
