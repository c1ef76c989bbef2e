"""Comparisons, and when time alone turns one."""

from services.profile.convert.predicates.terms import Kind, Term, equal, ordered, turned
from services.profile.convert.predicates.tree import Call
from services.profile.convert.predicates.walk import Walk

_SIGNS = {
    "_==_": "=",
    "_!=_": "<>",
    "_<_": "<",
    "_<=_": "<=",
    "_>_": ">",
    "_>=_": ">=",
}
FUNCTIONS = tuple(_SIGNS)


def comparison(walk: Walk, node: Call) -> Term:
    sign = _SIGNS[node.function]
    one, other = map(walk.term, node.arguments)
    if Kind.LIST in (one.kind, other.kind):
        return _against_list(walk, node, sign, one, other)
    if Kind.TIME in (one.kind, other.kind) or Kind.SPAN in (one.kind, other.kind):
        return _in_time(walk, node, sign, one, other)
    if sign in ("=", "<>"):
        sql = equal(one, other)
        return Term(Kind.BOOL, sql if sign == "=" else f"(NOT {_bracketed(sql)})")
    if any(term.literal == (None,) for term in (one, other)):
        raise walk.refuse(node, "null is neither less nor greater")
    return Term(Kind.BOOL, ordered(sign, one, other))


def _against_list(walk: Walk, node: Call, sign: str, one: Term, other: Term) -> Term:
    if other.is_json:
        one, other = other, one
    if sign not in ("=", "<>") or not one.is_json or other.kind is not Kind.LIST:
        raise walk.refuse(node, "a list can only be compared with an attribute, by == or !=")
    return Term(Kind.BOOL, f"({one.sql} {sign} {other.json})")


def _in_time(walk: Walk, node: Call, sign: str, one: Term, other: Term) -> Term:
    if one.kind is not other.kind:
        raise walk.refuse(
            node, "write timestamp(…) or duration(…) around what is to be compared with time"
        )
    now = one.now - other.now
    if now == 0:
        return Term(Kind.BOOL, f"({one.sql} {sign} {other.sql})")
    if abs(now) > 1:
        raise walk.refuse(node, "now may stand on one side only")
    if now < 0:
        one, other, sign = other, one, turned(sign)
    # From here: now compared with the moment at which the sides are equal.
    moment = f"({other.sql} - {one.sql})"
    at_it = {"<": [0], ">=": [0], "<=": [1], ">": [1], "=": [0, 1], "<>": [0, 1]}[sign]
    walk.dues += [
        f"CASE WHEN {moment} + {later} > {{now}} THEN {moment} + {later} END" for later in at_it
    ]
    return Term(Kind.BOOL, f"({{now}} {sign} {moment})")


def _bracketed(sql: str) -> str:
    return sql if sql.startswith("(") else f"({sql})"
