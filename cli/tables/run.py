"""Runs one import from the command line: opens what it needs, sends, and says how it went."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import typer

from cli.output import write_json
from cli.problems import Problem, usage
from cli.progress import bar
from cli.session import Session
from cli.tables.checkpoint import Checkpoint, Counts, open_checkpoint
from cli.tables.engine import Importer, Outcome
from cli.tables.refusals import Refusals, refusals_in
from cli.tables.rows import Row, Table, read
from mesh.clock import SystemClock

Item = TypeVar("Item")
Send = Callable[[list[Item], str], Awaitable[Outcome]]
"""Sends items as the request of an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    file: Path
    delimiter: str
    batch: int
    parallel: int
    errors: Path | None
    resume: Path | None
    anew: bool
    unsure: str
    repeatable: bool
    """Whether a batch done twice is as one done once."""
    columns: Collection[str]
    """Those that there have to be."""
    settings: Mapping[str, object]
    """All that decides what becomes of a row."""
    noun: str
    """Of one thing that a row makes."""
    dry_run: bool


async def run_import(
    session: Session, options: Options, item_of: Callable[[Row], Item], send: Send[Item]
) -> None:
    """Import a table.

    Raises:
        Problem: Some rows were refused; all others are in.
    """
    checkpoint = _checkpoint(options)
    begun = perf_counter()
    if checkpoint.state.complete:
        # Its counts are on record; nothing is read again.
        _tell_summary(session, options, checkpoint, Counts(), 0.0)
        _require_none_refused(options, checkpoint, Refusals(None))
        return
    _settle_unsure(options, checkpoint)

    async def send_batch(number: int, items: list[Item]) -> Outcome:
        return await send(items, checkpoint.request_id(number))

    try:
        with (
            read(options.file, delimiter=options.delimiter) as table,
            refusals_in(options.errors, checkpoint.state.errors_bytes) as refusals,
            bar(session, "rows", table.size) as advance,
        ):
            _require_columns(options, table)
            importer = Importer(item_of, send_batch, checkpoint, refusals, advance)
            await importer.run(table.rows, size=options.batch, parallel=options.parallel)
    except asyncio.CancelledError:
        _tell_stopped(options, checkpoint)
        raise
    checkpoint.complete()
    _tell_summary(session, options, checkpoint, importer.counts, perf_counter() - begun)
    _require_none_refused(options, checkpoint, refusals)


def _require_columns(options: Options, table: Table) -> None:
    """Tell a column that is misspelt from one that is empty.

    Raises:
        Problem: The table has no such column.
    """
    if table.columns is None:
        return
    if missing := sorted(set(options.columns) - set(table.columns)):
        names = ", ".join(missing)
        raise usage(
            f"{options.file} has no column {names}", hint=f"it has {', '.join(table.columns)}"
        )


def _require_none_refused(options: Options, checkpoint: Checkpoint, refusals: Refusals) -> None:
    """End as failed where rows are missing, also those that an earlier run was refused.

    Raises:
        Problem: Naming those of this run.
    """
    if count := checkpoint.state.counts.refused:
        left = "nothing was written" if options.dry_run else "all others are in"
        raise refusals.problem(count, left)


def _checkpoint(options: Options) -> Checkpoint:
    file = None if options.dry_run else options.resume or default_progress(options.file)
    return open_checkpoint(
        file,
        options.file,
        options.settings,
        anew=options.anew or options.dry_run,
        clock=SystemClock(),
    )


def default_progress(file: Path) -> Path:
    """Return where the progress of a file's import is kept, if nobody says."""
    return file.with_name(f"{file.name}.import")


def _settle_unsure(options: Options, checkpoint: Checkpoint) -> None:
    if options.unsure not in {"", "skip", "repeat"}:
        raise usage(f"--unsure {options.unsure!r} is none", hint="known: skip, repeat")
    unsure = [] if options.repeatable else checkpoint.unsure()
    if not unsure or options.unsure == "repeat":
        return
    if options.unsure == "skip":
        checkpoint.skip(unsure)
        return
    rows = ", ".join(
        f"{(batch - 1) * options.batch + 1:,} to {batch * options.batch:,}" for batch in unsure
    )
    raise Problem(
        f"whether rows {rows} are in, nobody knows any more: they were on their way"
        " when the import stopped, more than a day ago",
        reason="IMPORT_UNSURE",
        hint="look at one of their profiles, then go on with --unsure skip or --unsure repeat",
    )


def _tell_summary(
    session: Session, options: Options, checkpoint: Checkpoint, run: Counts, seconds: float
) -> None:
    total = checkpoint.state.counts
    if session.json:
        write_json(
            {
                "rows": total.rows,
                "created_count": total.created,
                "updated_count": total.updated,
                "unchanged_count": total.unchanged,
                "refused_count": total.refused,
                "earlier_rows": total.rows - run.rows,
                "seconds": round(seconds, 3),
                "dry_run": options.dry_run,
            }
        )
        return
    would = "would be " if options.dry_run else ""
    typer.echo(
        f"{_counted(total.rows, 'row')}: {_counted(total.created, options.noun)} {would}created,"
        f" {total.updated:,} {would}updated, {total.unchanged:,} unchanged,"
        f" {total.refused:,} refused"
    )
    earlier = total.rows - run.rows
    if earlier:
        done = "all of it" if not run.rows else f"{_counted(earlier, 'row')} of it"
        typer.secho(f"{done} by an earlier run ({_where(options)})", dim=True)
    if seconds >= 1:
        typer.secho(f"{seconds:.1f} s, {run.rows / seconds:,.0f} rows/s", dim=True)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _tell_stopped(options: Options, checkpoint: Checkpoint) -> None:
    done = "nothing was written"
    if not options.dry_run:
        done = (
            f"{_counted(checkpoint.state.counts.rows, 'row')} done;"
            " the same command goes on from there, no row twice"
        )
    typer.echo(f"stopped: {done}", err=True)


def _where(options: Options) -> str:
    file = options.resume or default_progress(options.file)
    return f"{file}; --anew imports it once more"
