"""`in`: an element of a list, a key of a map, and of which it is may turn out row by row."""

from services.profile.convert.predicates.counters import counted, is_counters
from services.profile.convert.predicates.fields import has, map_of
from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.tree import Call, Constant, Name, Node
from services.profile.convert.predicates.walk import Walk


def contained(walk: Walk, node: Call) -> Term:
    element, holder = node.arguments
    known = _known_key(walk, element, holder)
    if known is not None:
        return known
    one, many = walk.term(element), walk.term(holder)
    if one.kind in (Kind.TIME, Kind.SPAN, Kind.LIST) or one.floating:
        raise walk.refuse(element, "cannot be looked for in a list")
    value = one.json or (one.sql if one.is_json else f"to_jsonb({one.sql})")
    if many.kind is Kind.LIST:
        return Term(
            Kind.BOOL,
            f"({value} = ANY ({many.sql}))"
            if many.literal
            else f"CASE WHEN {value} IS NOT NULL THEN false END",
        )
    if not many.is_json:
        raise walk.refuse(holder, "must be a list, or an attribute that holds one")
    return Term(
        Kind.BOOL,
        f"CASE jsonb_typeof({many.sql}) WHEN 'array' THEN {_in_array(one, value, many)}"
        f" WHEN 'object' THEN {_as_key(one, many)} END",
    )


def _known_key(walk: Walk, element: Node, holder: Node) -> Term | None:
    """Return whether a literal is a key of a map that the filter names itself."""
    if not isinstance(holder, Name) or not isinstance(element, Constant):
        return None
    if is_counters(holder):
        return counted(walk, walk.word(element))
    if not isinstance(element.value, str):
        return None
    key = walk.kept(element, element.value)
    found = map_of(walk, holder, key)
    return has(walk, found, key, known=True) if found else None


def _in_array(one: Term, value: str, many: Term) -> str:
    if not one.is_json:
        return f"{many.sql} @> {value}"
    return (
        f"CASE WHEN {one.sql} IS NOT NULL THEN EXISTS (SELECT FROM"
        f" jsonb_array_elements({many.sql}) AS i (v) WHERE i.v = {one.sql}) END"
    )


def _as_key(one: Term, many: Term) -> str:
    if one.kind is Kind.TEXT:
        return f"{many.sql} ? {one.sql}"
    if not one.is_json:
        return "false"
    return (
        f"CASE WHEN jsonb_typeof({one.sql}) = 'string' THEN {many.sql} ? {one.text}"
        f" WHEN jsonb_typeof({one.sql}) IN ('number', 'boolean') THEN false END"
    )
