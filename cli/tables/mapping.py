"""Says what each column of a table means for the person in a row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from beckon.profile.v1.profile_service_pb2 import ProfilePatch

from cli.problems import usage
from cli.tables.rows import Row
from cli.tables.values import Type, convert, text_of
from mesh.names import ID_PATTERN

ID = "id"
LEFT_OUT = "-"
# Fields of a profile, which `set` writes by these names.
FIELDS = ("email", "phone", "time_zone", "locale")

_ID = re.compile(ID_PATTERN)


class Operation(StrEnum):
    """What a value does to what is there."""

    SET = "set"
    SET_ONCE = "set_once"
    INCREMENT = "increment"
    APPEND = "append"


# What an operation makes of a cell whose type nobody gave.
_TYPES = {Operation.INCREMENT: Type.NUMBER, Operation.APPEND: Type.LIST}


class Unfit(Exception):
    """A row cannot be imported."""

    def __init__(self, column: str, message: str) -> None:
        """Say where and why."""
        super().__init__(message)
        self.column = column
        self.message = message


@dataclass(frozen=True, slots=True)
class Column:
    """What one column means."""

    target: str
    """An attribute, one of `FIELDS`, `ID`, or `LEFT_OUT`."""
    operation: Operation
    type: Type | None
    """None: as the file has it."""


@dataclass(slots=True)
class ColumnMap:
    """What all columns mean; one that nobody mentions is an attribute of its own name."""

    targets: Mapping[str, str]
    types: Mapping[str, Type]
    operations: Mapping[str, Operation]
    id_column: str
    unset_empty: bool = False
    _columns: dict[str, Column] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether a row done twice is as one done once."""
        return Operation.INCREMENT not in self.operations.values()

    def settings(self) -> dict[str, object]:
        """Return all that decides what becomes of a row, to tell one import from another."""
        return {
            "targets": dict(sorted(self.targets.items())),
            "types": dict(sorted(self.types.items())),
            "operations": dict(sorted(self.operations.items())),
            "id": self.id_column,
            "unset_empty": self.unset_empty,
        }

    def mentioned(self) -> set[str]:
        """Return the columns that somebody named, so that a table has to have them."""
        return {self.id_column, *self.targets, *self.types, *self.operations}

    def id_of(self, row: Row) -> str:
        """Return whom a row is about.

        Raises:
            Unfit: It does not say.
        """
        return identifier(row, self.id_column)

    def patch_of(self, row: Row, parent: str) -> ProfilePatch:
        """Return what a row does to a profile.

        Raises:
            Unfit: It makes no sense.
        """
        patch = ProfilePatch(profile=f"{parent}/profiles/{self.id_of(row)}")
        for name, value in row.values.items():
            column = self._columns.get(name) or self._column(name)
            if column.target in {ID, LEFT_OUT}:
                continue
            if value is None or value == "":
                if self.unset_empty and column.operation is Operation.SET:
                    patch.set[column.target] = None
                continue
            try:
                if column.type is not None:
                    value = convert(value, column.type)  # noqa: PLW2901 — the same cell.
                _write(patch, column, value)
            except ValueError as error:
                raise Unfit(name, str(error)) from error
        return patch

    def _column(self, name: str) -> Column:
        operation = self.operations.get(name, Operation.SET)
        type_ = self.types.get(name, _TYPES.get(operation))
        target = ID if name == self.id_column else self.targets.get(name, name)
        self._columns[name] = column = Column(target, operation, type_)
        return column


def _write(patch: ProfilePatch, column: Column, value: Any) -> None:
    match column.operation:
        case Operation.SET:
            patch.set[column.target] = value
        case Operation.SET_ONCE:
            patch.set_once[column.target] = value
        case Operation.INCREMENT:
            patch.increment[column.target] = value
        case Operation.APPEND:
            patch.append[column.target] = value


def identifier(row: Row, column: str) -> str:
    """Return the id in a column.

    Raises:
        Unfit: There is none, or it cannot be one.
    """
    value = row.values.get(column)
    if value is None or value == "":
        raise Unfit(column, "is empty: whose row is it?")
    try:
        text = text_of(value).strip()
    except ValueError as error:
        raise Unfit(column, str(error)) from error
    if _ID.fullmatch(text) is None:
        raise Unfit(column, f"{text[:140]!r} is no id: 1 to 128 of A-Z a-z 0-9 . _ ~ @ + : = -")
    return text


def column_map(
    *,
    maps: Sequence[str],
    types: Sequence[str],
    operations: Sequence[str],
    id_column: str,
    unset_empty: bool,
) -> ColumnMap:
    """Read what the command line says of columns: `column=target`, `column=type`, ….

    Raises:
        Problem: It makes no sense.
    """
    targets = _pairs(maps, "--map")
    ids = [column for column, target in targets.items() if target == ID]
    if len(ids) > 1 or (ids and id_column not in {"", ids[0]}):
        raise usage(
            "more than one column is the id", hint="one of --id and --map COLUMN=id is enough"
        )
    found = ColumnMap(
        targets=targets,
        types={
            name: _choice(Type, text, "--type") for name, text in _pairs(types, "--type").items()
        },
        operations={
            name: _choice(Operation, text, "--operation")
            for name, text in _pairs(operations, "--operation").items()
        },
        id_column=id_column or (ids[0] if ids else ID),
        unset_empty=unset_empty,
    )
    for name, operation in found.operations.items():
        if operation in _TYPES and targets.get(name, name) in FIELDS:
            raise usage(f"--operation {name}={operation}: {targets.get(name, name)} is text")
    return found


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        column, equals, meaning = text.rpartition("=")
        if not equals or not column or not meaning:
            raise usage(f"{option} {text!r} says nothing", hint=f"expected {option} COLUMN=…")
        if column in found:
            raise usage(f"{option} says twice what {column!r} is")
        found[column] = meaning
    return found


Choice = TypeVar("Choice", Type, Operation)


def _choice(choices: type[Choice], text: str, option: str) -> Choice:
    try:
        return choices(text)
    except ValueError:
        hint = f"known: {', '.join(choices)}"
        raise usage(f"{option}: {text!r} is none", hint=hint) from None
