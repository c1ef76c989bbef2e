"""Fields and elements: of attributes, of traits, and of what they hold."""

from services.profile.convert.predicates.counters import counter
from services.profile.convert.predicates.leaves import MAPS
from services.profile.convert.predicates.terms import Kind, Term, field_term, json_term
from services.profile.convert.predicates.tree import Call, Constant, Name, Node, Select
from services.profile.convert.predicates.walk import Walk


def select(walk: Walk, node: Select) -> Term:
    counted = counter(walk, node)
    if counted is not None:
        return counted
    found = map_of(walk, node.operand, node.field)
    if node.test:
        holder = found or _holder(walk, node.operand)
        return has(walk, holder, node.field, known=found is not None)
    return field_term(found or _holder(walk, node.operand), walk.slot(node.field, "text"))


def index(walk: Walk, node: Call) -> Term:
    holder, key = node.arguments
    if isinstance(key, Constant) and isinstance(key.value, str):
        found = map_of(walk, holder, walk.kept(key, key.value))
        return field_term(found or _holder(walk, holder), walk.slot(key.value, "text"))
    found = _holder(walk, holder)
    if isinstance(key, Constant) and type(key.value) is int and 0 <= key.value < 1 << 31:
        # Of a lone value PostgreSQL would take the value for its own first element.
        element = f"({found.sql} -> {key.value})"
        return json_term(f"CASE WHEN jsonb_typeof({found.sql}) = 'array' THEN {element} END")
    raise walk.refuse(key, "an index must be a string or a number that is not negative")


def map_of(walk: Walk, operand: Node, key: str) -> Term | None:
    """Return the map that a key is of, having noted which key it is."""
    if not isinstance(operand, Name) or operand.name in walk.variables:
        return None
    match operand.name:
        case "profile.attributes":
            walk.needs.attributes.add(key)
        case "profile.traits":
            walk.needs.traits.add(key)
        case "relation.attributes":
            pass
        case _:
            return None
    return json_term(MAPS[operand.name])


def has(walk: Walk, holder: Term, key: str, *, known: bool) -> Term:
    """Return whether a key is there; of what is not known to be a map, NULL where it is none."""
    slot = walk.slot(key, "text")
    if known:
        return Term(Kind.BOOL, f"({holder.sql} ? {slot})")
    return Term(
        Kind.BOOL,
        f"CASE WHEN jsonb_typeof({holder.sql}) = 'object' THEN {holder.sql} ? {slot} END",
    )


def _holder(walk: Walk, node: Node) -> Term:
    term = walk.term(node)
    if not term.is_json:
        raise walk.refuse(node, "has no fields")
    return term
