"""What stands for itself in a filter: literals, lists of them, and names."""

import json
from math import isfinite

from services.profile.convert.predicates.terms import Kind, Term, json_term
from services.profile.convert.predicates.tree import Constant, Items, Name
from services.profile.convert.predicates.walk import Walk

MAPS = {
    "profile.attributes": "p.attributes",
    "profile.traits": "p.traits",
    "relation.attributes": "r.attributes",
}
_COLUMNS = {
    "profile.id": Term(Kind.TEXT, "p.profile_id"),
    "profile.time_zone": Term(Kind.TEXT, "p.time_zone"),
    "profile.locale": Term(Kind.TEXT, "p.locale"),
    "profile.create_time": Term(Kind.TIME, "cel_micros(p.create_time)"),
    "profile.first_seen_time": Term(Kind.TIME, "NULLIF(p.first_seen_us, 0)"),
    "profile.last_seen_time": Term(Kind.TIME, "NULLIF(p.last_seen_us, 0)"),
    "now": Term(Kind.TIME, "0", now=1),
}
_SEEN = ("profile.first_seen_time", "profile.last_seen_time")


def constant(walk: Walk, node: Constant) -> Term:
    value = node.value
    if node.unsupported:
        raise walk.refuse(node, f"{node.unsupported} is not available in a filter")
    if isinstance(value, str):
        walk.kept(node, value)
    as_json = walk.slot(json.dumps(value), "jsonb")
    literal = (value,)
    match value:
        case None:
            return Term(Kind.JSON, as_json, "NULL::text", literal, as_json)
        case bool():
            return Term(Kind.BOOL, str(value).lower(), "", literal, as_json)
        case str():
            return Term(Kind.TEXT, walk.slot(value, "text"), "", literal, as_json)
        case int():
            return Term(Kind.INT, f"{value}::numeric", "", literal, as_json)
        case float():
            if not isfinite(value):
                raise walk.refuse(node, "a number must be finite")
            return Term(Kind.DOUBLE, f"{value!r}::numeric", "", literal, as_json)


def name(walk: Walk, node: Name) -> Term:
    if node.name in walk.variables:
        return walk.variables[node.name]
    if node.name in _SEEN:
        walk.needs.any_event = True
    elif node.name in ("profile.time_zone", "profile.locale"):
        walk.needs.attributes.add(node.name.removeprefix("profile."))
    if node.name in _COLUMNS:
        return _COLUMNS[node.name]
    if node.name in MAPS:
        walk.needs.any_attribute = True
        return json_term(MAPS[node.name])
    if node.name == "profile.counters":
        raise walk.refuse(node, 'counters are asked for one by one: profile.counters["type"].count')
    raise walk.refuse(node, f"{node.name} is not available in a filter")


def items(walk: Walk, node: Items) -> Term:
    values = []
    for element in node.elements:
        if not isinstance(element, Constant) or element.unsupported:
            raise walk.refuse(element, "a list in a filter holds literals only")
        if isinstance(element.value, str):
            walk.kept(element, element.value)
        values.append(element.value)
    as_json = walk.slot(json.dumps(values), "jsonb")
    elements = walk.slot([json.dumps(value) for value in values], "jsonb[]")
    return Term(Kind.LIST, elements, "", tuple(values), as_json)
