"""Remembers how far a file was acknowledged."""

from hashlib import blake2b
from pathlib import Path

import msgspec

from cli.problems import Problem, usage


class Mark(msgspec.Struct):
    """How far it is."""

    source: str
    first_line: str
    """Hash of the file's first line: another file under the same name is not to be skipped."""
    lines: int
    """Acknowledged or refused, from the beginning."""


class Progress:
    """The mark of a source, kept in a file; without a file it is forgotten at the end.

    It may lag behind what was acknowledged. What is sent again is recognised by its ids.
    """

    def __init__(self, file: Path | None, source: str) -> None:
        """Read the mark, if there is one.

        Raises:
            Problem: The file holds something else.
        """
        self._file = file
        self._source = source
        self._mark: Mark | None = None
        if file is None or not file.exists():
            return
        try:
            self._mark = msgspec.json.decode(file.read_bytes(), type=Mark)
        except (OSError, msgspec.MsgspecError) as error:
            raise usage(f"{file} is no progress of `events send`: {error}") from error

    @property
    def lines(self) -> int:
        """How many lines need not be sent again."""
        return self._mark.lines if self._mark is not None else 0

    def begin(self, first_line: bytes) -> None:
        """Make sure that the mark is of this source.

        Raises:
            Problem: It is of another.
        """
        digest = blake2b(first_line, digest_size=16).hexdigest()
        if self._mark is None:
            self._mark = Mark(self._source, digest, 0)
        elif self._mark.first_line != digest:
            raise Problem(
                f"{self._file} is the progress of another file ({self._mark.source})",
                reason="OTHER_SOURCE",
                hint="name another file with --resume, or delete it to begin anew",
            )

    def reached(self, lines: int) -> None:
        """Remember that the first `lines` lines are done."""
        if self._mark is None or lines <= self._mark.lines:
            return
        self._mark.lines = lines
        if self._file is None:
            return
        unfinished = self._file.with_name(f"{self._file.name}.unfinished")
        unfinished.write_bytes(msgspec.json.encode(self._mark) + b"\n")
        unfinished.replace(self._file)
