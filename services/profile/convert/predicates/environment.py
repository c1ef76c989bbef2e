"""The names that a filter may use, as the CEL library checks them."""

from collections.abc import Callable, Mapping

from cel_expr_python import cel

from mesh import expressions
from mesh.errors import InvalidArgument
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
    program = expressions.check(source, _ENV_WITH_RELATION if relation else _ENV)
    return read_tree(program.serialize())


def refused(source: str, at: int, message: str) -> InvalidArgument:
    """Return the error for what stands at this character and no filter may hold."""
    before = source[: max(at, 0)]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return expressions.invalid(source, message, line=line, column=column)
