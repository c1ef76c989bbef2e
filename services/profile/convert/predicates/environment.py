"""The names that a filter may use, as the CEL library checks them."""

import re
from collections.abc import Callable, Mapping

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from cel_expr_python import cel

from mesh.errors import InvalidArgument
from mesh.expressions import LENGTH_MAX, invalid, too_costly
from services.profile.convert.predicates.tree import Tree, read_tree

Implementation = Callable[..., object]

_STRING, _INT, _BOOL = cel.Type.STRING, cel.Type.INT, cel.Type.BOOL
_TIMESTAMP, _DURATION = cel.Type.TIMESTAMP, cel.Type.DURATION
_MAP = cel.Type.Map(_STRING, cel.Type.DYN)
_VARIABLES = {
    "profile.id": _STRING,
    "profile.attributes": _MAP,
    "profile.traits": _MAP,
    "profile.counters": _MAP,
    "profile.time_zone": _STRING,
    "profile.locale": _STRING,
    "profile.create_time": _TIMESTAMP,
    "profile.first_seen_time": _TIMESTAMP,
    "profile.last_seen_time": _TIMESTAMP,
    "now": _TIMESTAMP,
}
# What an edge carries, for who asks along edges.
_RELATION_VARIABLES = {"relation.attributes": _MAP}
_FUNCTIONS = {
    "event_count": (_INT, [_STRING, _DURATION]),
    # Not a double: that could not be compared with 100.
    "event_sum": (cel.Type.DYN, [_STRING, _STRING, _DURATION]),
    "has_relation": (_BOOL, [_STRING, _STRING]),
    "relation_count": (_INT, [_STRING]),
    "reachable": (_BOOL, [_STRING]),
}
_POSITION = re.compile(r"<input>:(\d+):(\d+): ([^\n]*)")


def environment(
    implementations: Mapping[str, Implementation] | None = None, *, relation: bool = False
) -> cel.Env:
    """Return what filters are checked in; to evaluate them there, give the functions bodies."""
    bodies = implementations or {}
    functions = [
        cel.FunctionDecl(
            name,
            [cel.Overload(name, return_type=gives, parameters=takes, impl=bodies.get(name, _none))],
        )
        for name, (gives, takes) in _FUNCTIONS.items()
    ]
    variables = _VARIABLES | _RELATION_VARIABLES if relation else _VARIABLES
    return cel.NewEnv(variables=variables, functions=functions)


def _none(*_arguments: object) -> object:
    """Stand for a function that is only ever made SQL of."""
    return None


_ENV = environment()
_ENV_WITH_RELATION = environment(relation=True)


def check(source: str, *, relation: bool = False) -> Tree:
    """Return the tree of an expression that gives a bool.

    Raises:
        InvalidArgument: `EXPRESSION_INVALID` with line and column, or `EXPRESSION_TOO_COSTLY`.
    """
    if len(source) > LENGTH_MAX:
        raise too_costly(source, f"{LENGTH_MAX} characters")
    if "\0" in source or any("\ud800" <= one <= "\udfff" for one in source):
        raise invalid(source, "holds a NUL or half a character", line=1, column=1)
    try:
        program = (_ENV_WITH_RELATION if relation else _ENV).compile(source)
    except RuntimeError as error:
        raise _not_compiled(source, str(error)) from None
    gives = program.return_type()
    if gives not in (_BOOL, cel.Type.DYN):
        raise invalid(source, f"gives {gives.name()} instead of bool", line=1, column=1)
    return read_tree(program.serialize())


def refused(source: str, at: int, message: str) -> InvalidArgument:
    """Return the error for what stands at this character and no filter may hold."""
    before = source[: max(at, 0)]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return invalid(source, message, line=line, column=column)


def _not_compiled(source: str, error: str) -> InvalidArgument:
    if "recursion" in error.lower():
        return too_costly(source, "32 levels of nesting")
    match = _POSITION.search(error)
    if match is None:
        return InvalidArgument(
            ErrorReason.ERROR_REASON_EXPRESSION_INVALID,
            "expression does not compile",
            metadata={"expression": source[:256], "line": "1", "column": "1"},
        )
    return invalid(source, match[3], line=int(match[1]), column=int(match[2]))
