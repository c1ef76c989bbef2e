"""Progress bars: for people who watch, never for pipes and programs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from cli.session import Session

Advance = Callable[[int, int], None]
"""Called with how many more are done, and how far the input is read (0: not known)."""


def bar(session: Session, noun: str, size: int) -> AbstractContextManager[Advance]:
    """Return a bar that counts things towards the end of an input; `size` 0: it has none."""
    if session.json or not sys.stderr.isatty():
        return nullcontext(_show_nothing)
    return _rich_bar(noun, size)


def _show_nothing(more: int, offset: int) -> None:
    del more, offset


@contextmanager
def _rich_bar(noun: str, size: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn(f"{{task.fields[done]:,}} {noun}"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size or None, done=0, rate=0.0)
        done = furthest = 0

        def advance(more: int, offset: int) -> None:
            nonlocal done, furthest
            done, furthest = done + more, max(furthest, offset)
            elapsed = progress.tasks[0].elapsed or 1e-9
            progress.update(
                task, completed=furthest if size else None, done=done, rate=done / elapsed
            )

        yield advance
