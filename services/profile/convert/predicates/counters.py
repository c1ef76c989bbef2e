"""Counters of events, which are asked for one type at a time."""

from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.tree import Call, Constant, Name, Node, Select
from services.profile.convert.predicates.walk import Walk

_FIELDS = {"count": 0, "first_time": 1, "last_time": 2}


def counter(walk: Walk, node: Select) -> Term | None:
    """Return a counter's field, or whether there is a counter; None where it is about none."""
    if node.test and is_counters(node.operand):
        return counted(walk, node.field)
    kind = _type_of(walk, node.operand)
    if kind is None:
        return None
    place = _FIELDS.get(node.field)
    if place is None:
        raise walk.refuse(node, "a counter has count, first_time and last_time")
    if node.test:
        there = counted(walk, kind).sql
        return Term(Kind.BOOL, f"CASE WHEN {there} THEN true END")
    walk.needs.event_types.add(kind)
    sql = f"(p.counters -> {walk.slot(kind, 'text')} -> {place})"
    if node.field == "count":
        return Term(Kind.INT, f"{sql}::numeric")
    return Term(Kind.TIME, f"{sql}::bigint")


def counted(walk: Walk, kind: str) -> Term:
    """Return whether any event of a type was counted."""
    walk.needs.event_types.add(kind)
    return Term(Kind.BOOL, f"(p.counters ? {walk.slot(kind, 'text')})")


def is_counters(node: Node) -> bool:
    return isinstance(node, Name) and node.name == "profile.counters"


def _type_of(walk: Walk, node: Node) -> str | None:
    match node:
        case Select(operand=holder, field=kind, test=False) if is_counters(holder):
            return kind
        case Call(function="_[_]", arguments=(holder, Constant() as key)) if is_counters(holder):
            return walk.word(key)
        case _:
            return None
