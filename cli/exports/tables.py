"""Writes profiles as JSON Lines, CSV or Parquet, as they come, however many."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from cli.problems import usage
from cli.tables.rows import Form, form_of, parquet_library

# Small row groups are slow to read, large ones have to be held.
_ROW_GROUP = 20_000

Document = Mapping[str, Any]
"""A profile as JSON has it."""


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, and where its value comes from."""

    name: str
    kind: Kind
    value_of: Callable[[Document], Any]


class Writer(Protocol):
    """Takes profiles and writes them down."""

    def write(self, profiles: Sequence[Document]) -> None:
        """Write some."""
        ...


@contextmanager
def output(file: Path | None) -> Iterator[Path | None]:
    """Give a file to write into that becomes the one wanted once all is written; None: stdout.

    Raises:
        Problem: It cannot be written.
    """
    if file is None:
        yield None
        return
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.touch()
    except OSError as error:
        raise usage(f"cannot write {file}: {error.strerror}") from error
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def lines_in(file: Path | None) -> Iterator[IO[str]]:
    """Open a text to write; None: stdout."""
    if file is None:
        yield sys.stdout
        return
    # A spreadsheet's line ends would be doubled by a translation.
    with file.open("w", encoding="utf-8", newline="") as opened:
        yield opened


@contextmanager
def writer_for(
    wanted: Path | None, file: Path | None, columns: Sequence[Column]
) -> Iterator[Writer]:
    """Open what a name asks for: `.csv`, `.parquet`, else JSON Lines."""
    form = Form.JSONL if wanted is None else form_of(wanted)
    if form is Form.PARQUET:
        assert file is not None
        with _parquet(file, columns) as parquet:
            yield parquet
        return
    with lines_in(file) as text:
        yield _Json(text) if form is Form.JSONL else _Csv(text, columns)


class _Json:
    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def write(self, profiles: Sequence[Document]) -> None:
        for profile in profiles:
            self._text.write(json.dumps(profile, ensure_ascii=False) + "\n")


class _Csv:
    def __init__(self, text: IO[str], columns: Sequence[Column]) -> None:
        self._columns = columns
        self._writer = csv.writer(text, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def write(self, profiles: Sequence[Document]) -> None:
        for profile in profiles:
            self._writer.writerow([_cell(column, profile) for column in self._columns])


def _cell(column: Column, profile: Document) -> Any:
    value = column.value_of(profile)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


@contextmanager
def _parquet(file: Path, columns: Sequence[Column]) -> Iterator[Writer]:
    library = parquet_library()
    import pyarrow as pa

    types = {
        Kind.NUMBER: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
    }
    schema = pa.schema([(column.name, types.get(column.kind, pa.string())) for column in columns])
    with library.ParquetWriter(file, schema, compression="zstd") as parquet:
        held = _Parquet(parquet, schema, columns)
        yield held
        held.flush()


class _Parquet:
    def __init__(self, writer: Any, schema: Any, columns: Sequence[Column]) -> None:
        self._writer = writer
        self._schema = schema
        self._columns = columns
        self._held: list[list[Any]] = [[] for _ in columns]

    def write(self, profiles: Sequence[Document]) -> None:
        for profile in profiles:
            for column, values in zip(self._columns, self._held, strict=True):
                values.append(_typed(column, profile))
        if len(self._held[0]) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a row group."""
        import pyarrow as pa

        if self._held[0]:
            arrays = [
                pa.array(values, field.type)
                for values, field in zip(self._held, self._schema, strict=True)
            ]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._held = [[] for _ in self._columns]


def _typed(column: Column, profile: Document) -> Any:
    value = column.value_of(profile)
    if value is None:
        return None
    match column.kind:
        case Kind.TIMESTAMP:
            return datetime.fromisoformat(value) if value else None
        case Kind.NUMBER:
            return float(value)
        case Kind.JSON:
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value
