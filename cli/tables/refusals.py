"""Takes down rows that were refused: the first ones for people, all of them for a file."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from google.rpc.status_pb2 import Status

from cli.problems import Detail, Problem, usage
from cli.streaming.statuses import why
from cli.tables.rows import Row

# Listed on the terminal; the file takes them all.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not in."""

    row: Row
    where: str
    """Column, or field as the service calls it; '' for the row as a whole."""
    message: str
    reason: str

    @classmethod
    def by_service(cls, row: Row, status: Status) -> Self:
        """Read a refusal of the service."""
        refusal = why(status)
        return cls(row, refusal.where, refusal.message, refusal.reason)


@dataclass(slots=True)
class Refusals:
    """Those of one run."""

    file: IO[bytes] | None
    bytes_written: int = 0
    shown: list[Refused] = field(default_factory=list)

    def take(self, refused: Iterable[Refused]) -> None:
        """Take rows down, in the order of the table."""
        for one in sorted(refused, key=lambda refusal: refusal.row.number):
            if len(self.shown) < _SHOWN:
                self.shown.append(one)
            if self.file is not None:
                self.bytes_written += self.file.write(_line(one))
        if self.file is not None:
            self.file.flush()

    def problem(self, count: int, what: str) -> Problem:
        """Return what to say at the end of an import that was refused so many rows."""
        shown = sorted(self.shown, key=lambda one: one.row.number)
        details = [Detail(f"row {one.row.number}", _text(one)) for one in shown]
        if count > len(shown):
            more = f"{count - len(shown):,} more" if shown else "all of them by an earlier run"
            details.append(Detail("and" if shown else "rows", more))
        hint = "" if self.file is not None else "--errors FILE takes them all, each with its reason"
        return Problem(
            f"{count:,} row{' was' if count == 1 else 's were'} refused; {what}",
            reason="ROWS_REFUSED",
            details=details,
            hint=hint,
        )


@contextmanager
def refusals_in(file: Path | None, keep_bytes: int) -> Iterator[Refusals]:
    """Open a file of refused rows, kept so far as it belongs to what is done.

    Raises:
        Problem: It cannot be written.
    """
    if file is None:
        yield Refusals(None)
        return
    try:
        opened = file.open("r+b" if keep_bytes and file.exists() else "wb")
    except OSError as error:
        raise usage(f"cannot write {file}: {error.strerror}") from error
    with opened:
        opened.truncate(keep_bytes if opened.seek(0, 2) >= keep_bytes else 0)
        yield Refusals(opened, opened.seek(0, 2))


def _text(one: Refused) -> str:
    where = f"{one.where}: " if one.where and not one.message.startswith(one.where) else ""
    return f"{where}{one.message} [{one.reason}]"


def _line(one: Refused) -> bytes:
    content = {
        "row": one.row.number,
        "where": one.where,
        "message": one.message,
        "reason": one.reason,
        "values": dict(one.row.values),
    }
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
