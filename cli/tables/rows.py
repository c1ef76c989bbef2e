"""Reads CSV, JSON Lines and Parquet row by row; a row that cannot be read does not end the file."""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from cli.problems import Problem, usage
from cli.streaming.records import LINE_BYTES_MAX, Line, Source, lines, opened
from cli.tables.values import TOO_DEEP, too_deep

# Rows that are taken out of a Parquet file at once.
_PARQUET_ROWS = 1000

_COMPRESSED = ".gz"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

# What the library says of a row, and what it means to who wrote the file.
_CSV_PROBLEMS = {
    "unexpected end of data": "has a quote that is never closed",
    "field limit": f"has a field of more than {csv.field_size_limit():,} characters:"
    " a quote that is never closed?",
    "expected after": "has text behind a closing quote: a quote inside of a field is written"
    " twice; or an earlier one is never closed",
    "new-line character": "has a carriage return outside of quotes",
}


class Form(StrEnum):
    """How a file says its rows."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".csv": Form.CSV,
    ".tsv": Form.CSV,
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".parquet": Form.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    number: int
    """From 1; a head line is no row."""
    values: Mapping[str, Any]
    """By column; what a Parquet file types is plain JSON here."""
    offset: int
    """How far the file is read, in the unit of the table's size."""
    problem: str = ""
    """Why it cannot be read; '': it can."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file that is being read."""

    size: int
    """Bytes of a text, rows of a Parquet file: for progress."""
    rows: Iterator[Row]
    columns: Collection[str] | None = None
    """What every row has; None where each row says for itself."""


def form_of(file: Path) -> Form:
    """Return the form that a file's name promises.

    Raises:
        Problem: It promises none.
    """
    suffixes = [one.lower() for one in file.suffixes if one.lower() != _COMPRESSED]
    form = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if form is None:
        raise usage(
            f"what is in {file.name}? Its name does not tell", hint=f"known: {', '.join(_SUFFIXES)}"
        )
    return form


@contextmanager
def read(file: Path, *, delimiter: str = "") -> Iterator[Table]:
    """Open a table.

    Raises:
        Problem: It is none, or cannot be read.
    """
    form = form_of(file)
    if form is Form.PARQUET:
        yield _parquet(file)
        return
    if len(delimiter) > 1:
        raise usage(f"--delimiter {delimiter!r} is more than one character")
    with opened(str(file)) as source:
        size = file.stat().st_size
        if form is Form.JSONL:
            yield Table(size, _json_rows(source))
        else:
            yield _csv(source, size, delimiter or ("\t" if ".tsv" in file.suffixes else ","))


def _utf8_lines(source: Source) -> Iterator[Line]:
    """Yield the lines of a text.

    Raises:
        Problem: They are not UTF-8 at all, or cannot be read.
    """
    for line in lines(source):
        if line.number == 1 and line.content.startswith(_UTF_16):
            raise Problem(
                f"{source.name} is UTF-16: it must be UTF-8",
                reason="TABLE_INVALID",
                hint="`iconv -f UTF-16 -t UTF-8` makes it so",
            )
        yield line


def _csv(source: Source, size: int, delimiter: str) -> Table:
    # The standard library's reader knows after each row where it is, and one bad row is no more
    # than that; pyarrow's is faster, but the services take ten times as long as either.
    texts = _Texts(source)
    # Strict: else a quote that is never closed makes one field of all that follows.
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    columns = _csv_head(source, texts, reader)
    return Table(size, _csv_rows(source, texts, reader, columns), columns)


def _csv_head(source: Source, texts: "_Texts", reader: "Iterator[list[str]]") -> list[str]:
    problem = ""
    try:
        head = next(reader, None)
    except csv.Error as error:
        head, problem = [], _csv_problem(error, 1, texts.number)
    if head is None:
        raise Problem(f"{source.name} is empty", reason="TABLE_INVALID")
    if problem := texts.broken or problem:
        raise Problem(f"{source.name}: the head {problem}", reason="TABLE_INVALID")
    columns = [name.strip() for name in head]
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise Problem(f"columns are there twice: {', '.join(twice)}", reason="TABLE_INVALID")
    return columns


def _csv_problem(error: csv.Error, first: int, last: int) -> str:
    said = str(error)
    words = next((words for part, words in _CSV_PROBLEMS.items() if part in said), said)
    return f"{words} (lines {first:,} to {last:,})" if last > first else words


def _csv_rows(
    source: Source, texts: "_Texts", reader: "Iterator[list[str]]", columns: Sequence[str]
) -> Iterator[Row]:
    number = 0
    while True:
        texts.broken = ""
        problem = ""
        fields: list[str] = []
        first = texts.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _csv_problem(error, first, texts.number)
        if not fields and not problem and not texts.broken:
            continue
        number += 1
        problem = texts.broken or problem
        if not problem and len(fields) != len(columns):
            problem = f"has {len(fields)} fields, the head {len(columns)}"
        # Asking costs a call, so only now and then.
        offset = source.position() if number % 256 == 0 else 0
        yield Row(number, dict(zip(columns, fields, strict=False)), offset, problem)


class _Texts:
    """The lines of a file as text, remembering what was wrong with the last."""

    def __init__(self, source: Source) -> None:
        self._lines = _utf8_lines(source)
        self.number = 0
        """Of the last line, from 1."""
        self.broken = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number, content = line.number, line.content
        if len(content) >= LINE_BYTES_MAX:
            self.broken = f"is longer than {LINE_BYTES_MAX:,} bytes"
            return ""
        try:
            text = content.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            self.broken = f"is not UTF-8: {error.reason}"
            text = content.decode("utf-8", "replace")
        return text + "\n"


def _json_rows(source: Source) -> Iterator[Row]:
    number = 0
    for line in _utf8_lines(source):
        if not line.content.strip():
            continue
        number += 1
        if len(line.content) >= LINE_BYTES_MAX:
            problem = f"is longer than {LINE_BYTES_MAX:,} bytes"
            yield Row(number, {}, line.offset, problem)
            continue
        try:
            yield Row(number, _json_object(line.content), line.offset)
        except ValueError as error:
            text = line.content[:200].decode("utf-8", "replace")
            yield Row(number, {"": text}, line.offset, str(error))


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"is no JSON object: {error}") from error
    except RecursionError:
        raise ValueError(f"has a value that {TOO_DEEP}") from None
    if too_deep(found.values()):
        raise ValueError(f"has a value that {TOO_DEEP}")
    return found


def _parquet(file: Path) -> Table:
    parquet = parquet_library()
    try:
        table = parquet.ParquetFile(file, pre_buffer=False)
    except OSError as error:
        raise usage(f"cannot read {file}: {error}") from error
    except ValueError as error:
        raise Problem(f"{file} is no Parquet file: {error}", reason="TABLE_INVALID") from error

    def rows() -> Iterator[Row]:
        number = 0
        batches = table.iter_batches(_PARQUET_ROWS, use_threads=False)
        while (batch := _next_batch(batches, file, number)) is not None:
            for values in batch.to_pylist():
                number += 1
                yield _plain_row(number, values)

    return Table(table.metadata.num_rows, rows(), table.schema_arrow.names)


def _next_batch(batches: Iterator[Any], file: Path, number: int) -> Any:
    try:
        return next(batches, None)
    except (OSError, ValueError) as error:
        raise Problem(
            f"{file} cannot be read beyond row {number:,}: {error}",
            reason="FILE_BROKEN",
            hint="what stands before it may be in already",
        ) from error


def parquet_library() -> Any:
    """Return the library that reads and writes Parquet.

    Raises:
        Problem: It is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        hint = "install beckon with the extra `tables`, which brings pyarrow"
        raise Problem(
            "Parquet needs a library that is not there", reason="MISSING", hint=hint
        ) from error
    return parquet


def _plain_row(number: int, values: Mapping[str, Any]) -> Row:
    try:
        return Row(number, {name: _plain(one) for name, one in values.items()}, number)
    except ValueError as error:
        return Row(number, {}, number, str(error))


def _plain(value: Any) -> Any:
    """Return what JSON would say of a value."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat() if value.tzinfo else f"{value.isoformat()}Z"
        case date():
            return f"{value.isoformat()}T00:00:00Z"
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case _ if _is_decimal(value):
            return float(value)
        case _:
            raise ValueError(f"holds a {type(value).__name__}, which JSON cannot say")


def _is_decimal(value: object) -> bool:
    return type(value).__name__ == "Decimal"
