# ruff: noqa: S608 — put together from constants and slots: no value is in the text
"""The macros that go through an attribute: `exists` and `all`."""

from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.tree import Call, Constant, Loop, Name, Node, Select
from services.profile.convert.predicates.walk import Walk, least


def loop(walk: Walk, node: Loop) -> Term:
    every = _is_all(node)
    if every is None or not isinstance(node.step, Call):
        raise walk.refuse(node, "of the macros only exists, all and has are available")
    over = walk.term(node.over)
    if not over.is_json:
        raise walk.refuse(node, "must go through an attribute")
    if walk.variable and _root(node.over) != walk.variable:
        # Lists of a thousand in each other are a billion steps, with every event of a person.
        message = f"a loop inside a loop goes through what {walk.variable} holds"
        raise walk.refuse(node, message)
    with walk.loop(node.variable) as (alias, inner):
        step = walk.bool(node.step.arguments[1])
    elements = (
        f"FROM jsonb_array_elements(CASE jsonb_typeof({over.sql}) WHEN 'array' THEN {over.sql}"
        f" WHEN 'object' THEN (SELECT jsonb_agg(k) FROM jsonb_object_keys({over.sql}) AS k)"
        f" END) AS {alias} (v)"
    )
    # What stands inside may name nothing of the element; an aggregate over it would then be
    # one over profiles.
    if inner:
        walk.dues.append(f"(SELECT min(s.d) FROM (SELECT {least(inner)} AS d {elements}) AS s)")
    found = "NOT bool_and(s.b)" if every else "bool_or(s.b)"
    answer, otherwise = ("false", "true") if every else ("true", "false")
    return Term(
        Kind.BOOL,
        f"CASE WHEN jsonb_typeof({over.sql}) IN ('array', 'object') THEN (SELECT CASE"
        f" WHEN {found} THEN {answer} WHEN bool_or(s.b IS NULL) THEN NULL"
        f" ELSE {otherwise} END FROM (SELECT {step} AS b {elements}) AS s) END",
    )


def _root(node: Node) -> str:
    """Return the variable that a path begins with; nothing where it is no path."""
    match node:
        case Name(name=name):
            return name
        case Select(operand=operand):
            return _root(operand)
        case Call(function="_[_]", arguments=(operand, _)):
            return _root(operand)
        case _:
            return ""


def _is_all(node: Loop) -> bool | None:
    """Say whether a loop is `all`; None where it is neither that nor `exists`."""
    match node:
        case Loop(
            start=Constant(value=bool(start)),
            step=Call(function=function, arguments=(Name(name=accumulated), _)),
            result=Name(name=result),
        ) if accumulated == result:
            if function == ("_&&_" if start else "_||_"):
                return start
        case _:
            pass
    return None
