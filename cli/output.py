"""How answers are written: aligned columns for people, JSON with the protos' names for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mesh.structs import whole_numbers

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

Row = Sequence[str]
Item = TypeVar("Item")


class Format(StrEnum):
    """For whom."""

    TABLE = "table"
    JSON = "json"


def as_dict(message: "Message") -> dict[str, Any]:
    """Return a message as JSON has it, with the protos' names and every plain field present."""
    from google.protobuf.json_format import MessageToDict

    document: dict[str, Any] = whole_numbers(
        MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )
    return document


def write_json(value: object) -> None:
    """Write one document, or one line of several."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


class Lines:
    """Writes the rows of a list as they come, a page at a time.

    Columns keep the widths of the first page, so that a list without end is still readable.
    """

    def __init__(self, format_: Format, columns: Sequence[str]) -> None:
        """Describe the columns."""
        self._format = format_
        self._columns = columns
        self._widths: list[int] = []
        self.count = 0

    def write(
        self,
        items: Iterable[Item],
        row: Callable[[Item], Row],
        document: Callable[[Item], Mapping[str, object]],
    ) -> None:
        """Write one page."""
        page = list(items)
        self.count += len(page)
        if self._format is Format.JSON:
            for item in page:
                write_json(document(item))
        elif page:
            self._write_rows([row(item) for item in page])
        sys.stdout.flush()

    def end(self, nothing: str) -> None:
        """Say that there was nothing, to people only."""
        if not self.count and self._format is Format.TABLE:
            typer.secho(nothing, dim=True, err=True)

    def _write_rows(self, rows: Sequence[Row]) -> None:
        first = not self._widths
        if first:
            cells = zip(*[self._columns, *rows], strict=True)
            self._widths = [max(map(len, column)) for column in cells]
            typer.secho(self._line(self._columns), bold=True)
        for row in rows:
            typer.echo(self._line(row))

    def _line(self, row: Row) -> str:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, self._widths, strict=True)]
        return "  ".join(cells).rstrip()


def enum_text(message: "Message", field: str) -> str:
    """Return an enum's value as people write it: `STATE_ACTIVE` is `active`."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    value = getattr(message, field)
    known = descriptor.enum_type.values_by_number.get(value)
    prefix = enum_prefix(descriptor.enum_type.values[0].name)
    return known.name.removeprefix(prefix).lower() if known else str(value)


def enum_prefix(zero: str) -> str:
    """Return what all names of an enum begin with, from that of its zero."""
    return zero.removesuffix("UNSPECIFIED")


def time_text(timestamp: "Timestamp | None") -> str:
    """Return an instant to the second in UTC; a dash for none."""
    if timestamp is None or not timestamp.seconds:
        return "-"
    return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M:%S}"


def last(name: str) -> str:
    """Return the id at the end of a resource name; a dash for none."""
    return name.rpartition("/")[2] or "-"
