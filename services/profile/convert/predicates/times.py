"""Timestamps and durations, written out or kept in an attribute."""

from services.profile.convert.predicates.literals import moment_us, span_us
from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.tree import Call, Constant, Node
from services.profile.convert.predicates.walk import Walk


def timestamp(walk: Walk, node: Call) -> Term:
    argument = node.arguments[0]
    if isinstance(argument, Constant):
        moment = moment_us(argument.value) if isinstance(argument.value, str) else None
        if moment is None:
            raise walk.refuse(argument, 'must be like "2026-12-31T23:59:59Z"')
        return Term(Kind.TIME, f"{moment}::bigint")
    term = walk.term(argument)
    if term.kind is Kind.TIME:
        return term
    if not term.is_json:
        raise walk.refuse(argument, "must be an attribute or a literal")
    return Term(Kind.TIME, f"cel_moment({term.sql})")


def duration(walk: Walk, node: Call) -> Term:
    span = literal_span(node)
    if span is None:
        message = 'must be a literal like "72h" or "1h30m", to 100 years'
        raise walk.refuse(node.arguments[0], message)
    return Term(Kind.SPAN, f"({span}::bigint)")


def literal_span(node: Node) -> int | None:
    """Return how long `duration("72h")` is; None where that is not what stands there."""
    match node:
        case Call(function="duration", arguments=(Constant(value=str(text)),)):
            return span_us(text)
        case _:
            return None
