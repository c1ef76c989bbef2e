"""Makes SQL of a checked expression: says which part of CEL is made where."""

from collections.abc import Callable

from services.profile.convert.predicates import (
    arithmetic,
    comparisons,
    containing,
    fields,
    leaves,
    logic,
    loops,
    people,
    texts,
    times,
)
from services.profile.convert.predicates.terms import Term
from services.profile.convert.predicates.tree import (
    Call,
    Constant,
    Items,
    Loop,
    Name,
    Node,
    Other,
    Select,
    Tree,
)
from services.profile.convert.predicates.walk import Walk, least
from services.profile.model.segments import Filter

_CALLS: dict[str, Callable[[Walk, Call], Term]] = {
    "_&&_": logic.joined,
    "_||_": logic.joined,
    "!_": logic.negated,
    "_?_:_": logic.ternary,
    **dict.fromkeys(comparisons.FUNCTIONS, comparisons.comparison),
    **dict.fromkeys(arithmetic.FUNCTIONS, arithmetic.arithmetic),
    "-_": arithmetic.negative,
    "int": arithmetic.to_int,
    "double": arithmetic.to_double,
    "_[_]": fields.index,
    "@in": containing.contained,
    "startsWith": texts.part,
    "endsWith": texts.part,
    "contains": texts.part,
    "matches": texts.matches,
    "size": texts.size,
    "timestamp": times.timestamp,
    "duration": times.duration,
    "event_count": people.event_count,
    "event_sum": people.event_sum,
    "has_relation": people.has_relation,
    "relation_count": people.relation_count,
    "reachable": people.reachable,
}


def compile_tree(source: str, tree: Tree) -> Filter:
    """Return SQL for the answer, and for when time alone may change it."""
    walk = Walk(source, tree, _translate)
    sql = walk.bool(tree.root)
    return Filter(source, sql, least(walk.dues), tuple(walk.parameters), walk.needs.frozen())


def _translate(walk: Walk, node: Node) -> Term:
    match node:
        case Constant():
            return leaves.constant(walk, node)
        case Name():
            return leaves.name(walk, node)
        case Items():
            return leaves.items(walk, node)
        case Select():
            return fields.select(walk, node)
        case Call():
            return _call(walk, node)
        case Loop():
            return loops.loop(walk, node)
        case Other():
            raise walk.refuse(node, f"{node.what} is not available in a filter")


def _call(walk: Walk, node: Call) -> Term:
    make = _CALLS.get(node.function)
    if make is None:
        name = node.function.strip("_@")
        raise walk.refuse(node, f"{name} is not available in a filter")
    return make(walk, node)
