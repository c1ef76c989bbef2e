"""The checked syntax tree of a CEL expression, read from the bytes that the library writes.

`cel.expr.CheckedExpr` is a stable wire format with no Python module on our shelf: the numbers
below are its field numbers, and only the fields that SQL is made from are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import (  # type: ignore[import-not-found]
    UnknownFieldSet,  # has no stub
)

_Data: TypeAlias = int | bytes
_TWO_63 = 1 << 63


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    node: int
    value: str | int | float | bool | None
    unsupported: str = ""
    """What it is, where it is nothing that JSON knows."""


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    node: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """A field of something, or whether it is there."""

    node: int
    operand: "Node"
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function, an operator or a method; of a method `target` comes first."""

    node: int
    function: str
    arguments: tuple["Node", ...]
    method: bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list that stands in the expression."""

    node: int
    elements: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A macro that goes through a list: `exists`, `all` and others."""

    node: int
    variable: str
    over: "Node"
    start: "Node"
    step: "Node"
    result: "Node"


@dataclass(frozen=True, slots=True)
class Other:
    """What no filter may hold."""

    node: int
    what: str


Node: TypeAlias = Constant | Name | Select | Call | Items | Loop | Other


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression, and where in the source its nodes stand."""

    root: Node
    positions: dict[int, int]


def read_tree(serialized: bytes) -> Tree:
    """Return the tree in a serialized `google.protobuf.Any` of a `CheckedExpr`."""
    root: Node = Other(0, "nothing")
    positions: dict[int, int] = {}
    for number, data in _fields(AnyMessage.FromString(serialized).value):
        if number == 4:  # expr
            root = _node(_bytes(data))
        elif number == 5:  # source_info
            positions = _positions(_bytes(data))
    return Tree(root, positions)


def _node(data: bytes) -> Node:
    node, made = 0, None
    for number, value in _fields(data):
        if number == 2:
            node = _int(value)
        else:
            made = number, _bytes(value)
    if made is None:
        return Other(node, "nothing")
    kind, content = made
    match kind:
        case 3:
            return _constant(node, content)
        case 4:
            return Name(node, _text(_last(content, 1)))
        case 5:
            return Select(
                node,
                _node(_bytes(_last(content, 1))),
                _text(_last(content, 2)),
                bool(_last(content, 3)),
            )
        case 6:
            return _call(node, content)
        case 7:
            elements = (_node(_bytes(one)) for at, one in _fields(content) if at == 1)
            return Items(node, tuple(elements))
        case 9:
            return _loop(node, content)
        case _:
            return Other(node, "a map or message")


def _constant(node: int, content: bytes) -> Node:
    for number, value in _fields(content):
        match number:
            case 1:
                return Constant(node, None)
            case 2:
                return Constant(node, bool(value))
            case 3:
                return Constant(node, _int(value))
            case 4:
                return Constant(node, None, "an unsigned number")
            case 5:
                bits = value if isinstance(value, int) else 0
                return Constant(node, float(struct.unpack("<d", struct.pack("<Q", bits))[0]))
            case 6:
                return Constant(node, _text(value))
            case _:
                pass
    return Constant(node, None, "bytes")


def _call(node: int, content: bytes) -> Call:
    target: tuple[Node, ...] = ()
    function, arguments = "", []
    for number, value in _fields(content):
        if number == 1:
            target = (_node(_bytes(value)),)
        elif number == 2:
            function = _text(value)
        elif number == 3:
            arguments.append(_node(_bytes(value)))
    return Call(node, function, (*target, *arguments), bool(target))


def _loop(node: int, content: bytes) -> Node:
    parts = dict(_fields(content))
    if 8 in parts:
        return Other(node, "a loop over two variables")
    over, start, step, result = (_node(_bytes(parts.get(at, b""))) for at in (2, 4, 6, 7))
    return Loop(node, _text(parts.get(1, b"")), over, start, step, result)


def _positions(data: bytes) -> dict[int, int]:
    found = {}
    for number, entry in _fields(data):
        if number == 4:
            parts = dict(_fields(_bytes(entry)))
            found[_int(parts.get(1, 0))] = _int(parts.get(2, 0))
    return found


def _fields(data: bytes) -> Iterator[tuple[int, _Data]]:
    # A message that knows no field keeps all of them as unknown, in their order.
    for field in UnknownFieldSet(Empty.FromString(data)):
        yield field.field_number, field.data


def _last(data: bytes, wanted: int) -> _Data:
    found: _Data = b""
    for number, value in _fields(data):
        if number == wanted:
            found = value
    return found


def _bytes(data: _Data) -> bytes:
    return data if isinstance(data, bytes) else b""


def _text(data: _Data) -> str:
    return _bytes(data).decode()


def _int(data: _Data) -> int:
    number = data if isinstance(data, int) else 0
    return number - 2 * _TWO_63 if number >= _TWO_63 else number
