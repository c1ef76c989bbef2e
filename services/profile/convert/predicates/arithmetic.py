"""Reckoning with numbers and with time, and making numbers of one kind another."""

from mesh.expressions import too_costly
from services.profile.convert.predicates.terms import NUMBERS, Kind, Term, as_float
from services.profile.convert.predicates.tree import Call
from services.profile.convert.predicates.walk import Walk

# So few that 64 bits of microseconds hold whatever comes out.
_SUMS_MAX = 16

_SIGNS = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}
FUNCTIONS = tuple(_SIGNS)
_FLOAT_FUNCTIONS = {"+": "cel_plus", "-": "cel_minus", "*": "cel_times", "/": "cel_over"}


def arithmetic(walk: Walk, node: Call) -> Term:
    sign = _SIGNS[node.function]
    one, other = map(walk.term, node.arguments)
    kinds = {one.kind, other.kind}
    if kinds <= {Kind.TIME, Kind.SPAN} and sign in "+-":
        return _along_time(walk, node, sign, one, other)
    if Kind.DOUBLE in kinds and kinds <= {Kind.DOUBLE, Kind.JSON} and sign != "%":
        return Term(
            Kind.DOUBLE,
            f"{_FLOAT_FUNCTIONS[sign]}({_exactly_double(one)}, {_exactly_double(other)})",
            floating=True,
        )
    if Kind.INT in kinds and kinds <= {Kind.INT, Kind.JSON}:
        a, b = _exactly_int(one), _exactly_int(other)
        if sign in "/%":
            b = f"NULLIF({b}, 0)"
        return Term(
            Kind.INT, f"cel_int(div({a}, {b}))" if sign == "/" else f"cel_int({a} {sign} {b})"
        )
    raise walk.refuse(
        node,
        "numbers of one kind are reckoned with: write int(…) or double(…) around attributes",
    )


def negative(walk: Walk, node: Call) -> Term:
    term = walk.term(node.arguments[0])
    if term.kind is Kind.SPAN:
        return Term(Kind.SPAN, f"(- {term.sql})", now=-term.now)
    if term.kind is Kind.INT:
        return Term(Kind.INT, f"cel_int(- {term.sql})")
    if term.kind is Kind.DOUBLE:
        return Term(Kind.DOUBLE, f"(- {term.sql})", floating=term.floating)
    raise walk.refuse(node, "write int(…) or double(…) around what is to be negated")


def to_int(walk: Walk, node: Call) -> Term:
    term = _number(walk, node)
    if term.kind is Kind.INT:
        return term
    if term.is_json:
        return Term(Kind.INT, f"cel_to_int({term.sql})")
    return Term(Kind.INT, f"cel_int(trunc(({term.sql})::numeric))")


def to_double(walk: Walk, node: Call) -> Term:
    term = _number(walk, node)
    sql = f"cel_to_double({term.sql})" if term.is_json else as_float(term)
    return Term(Kind.DOUBLE, sql, floating=True)


def _number(walk: Walk, node: Call) -> Term:
    term = walk.term(node.arguments[0])
    if term.kind not in NUMBERS and not term.is_json:
        raise walk.refuse(node.arguments[0], "must be a number")
    return term


def _along_time(walk: Walk, node: Call, sign: str, one: Term, other: Term) -> Term:
    walk.time_sums += 1
    if walk.time_sums > _SUMS_MAX:
        raise too_costly(walk.source, f"{_SUMS_MAX} sums of time")
    factor = 1 if sign == "+" else -1
    now = one.now + factor * other.now
    moments = (one.kind is Kind.TIME) + factor * (other.kind is Kind.TIME)
    if moments not in (0, 1):
        raise walk.refuse(node, "gives neither a timestamp nor a duration")
    kind = Kind.TIME if moments else Kind.SPAN
    return Term(kind, f"({one.sql} {sign} {other.sql})", now=now)


def _exactly_double(term: Term) -> str:
    return f"cel_exactly_double({term.sql})" if term.is_json else as_float(term)


def _exactly_int(term: Term) -> str:
    return f"cel_exactly_int({term.sql})" if term.is_json else term.sql
