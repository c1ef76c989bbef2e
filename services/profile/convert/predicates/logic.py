"""And, or, not, and the choice between two."""

from dataclasses import replace

from services.profile.convert.predicates.terms import Kind, Term, as_float
from services.profile.convert.predicates.tree import Call
from services.profile.convert.predicates.walk import Walk


def joined(walk: Walk, node: Call) -> Term:
    """Return `&&` and `||`, which absorb a NULL as CEL's absorb an error."""
    sign = "AND" if node.function == "_&&_" else "OR"
    one, other = map(walk.bool, node.arguments)
    return Term(Kind.BOOL, f"({one} {sign} {other})")


def negated(walk: Walk, node: Call) -> Term:
    return Term(Kind.BOOL, f"(NOT ({walk.bool(node.arguments[0])}))")


def ternary(walk: Walk, node: Call) -> Term:
    condition = walk.bool(node.arguments[0])
    one, other = map(walk.term, node.arguments[1:])
    if one.kind is not other.kind or one.now or other.now or one.kind is Kind.LIST:
        raise walk.refuse(node, "both sides of : must be of one type, without now")
    if one.floating != other.floating:
        one, other = (replace(term, sql=as_float(term), floating=True) for term in (one, other))

    def choose(yes: str, no: str) -> str:
        return f"(CASE WHEN {condition} THEN {yes} WHEN NOT {condition} THEN {no} END)"

    text = choose(one.text, other.text) if one.is_json else ""
    return Term(one.kind, choose(one.sql, other.sql), text, floating=one.floating)
