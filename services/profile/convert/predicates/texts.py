# ruff: noqa: S608 — put together from constants and slots: no value is in the text
"""What is asked of strings: how they begin and end, what they hold, how long they are."""

from services.profile.convert.predicates.patterns import NotPortable, translate
from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.tree import Call, Constant, Node
from services.profile.convert.predicates.walk import Walk


def part(walk: Walk, node: Call) -> Term:
    """Return whether a string is the beginning, the end or a part of another."""
    subject, argument = node.arguments
    needle = walk.term(argument)
    if needle.kind is not Kind.TEXT:
        raise walk.refuse(argument, "must be a string")
    term = walk.term(subject)
    text = term.text if term.is_json else term.sql
    match node.function:
        case "startsWith":
            sql = f"starts_with({text}, {needle.sql})"
        case "endsWith":
            sql = f"(right({text}, length({needle.sql})) = {needle.sql})"
        case _:
            sql = f"(strpos({text}, {needle.sql}) > 0)"
    return Term(Kind.BOOL, _of_text(walk, subject, term, sql))


def matches(walk: Walk, node: Call) -> Term:
    subject, argument = node.arguments
    if not isinstance(argument, Constant) or not isinstance(argument.value, str):
        raise walk.refuse(argument, "a pattern must be a literal")
    try:
        pattern = walk.slot(translate(walk.kept(argument, argument.value)), "text")
    except NotPortable as error:
        message = f"{error} is not available in a pattern of a filter"
        raise walk.refuse(argument, message) from None
    term = walk.term(subject)
    text = term.text if term.is_json else term.sql
    return Term(Kind.BOOL, _of_text(walk, subject, term, f'({text} COLLATE "C" ~ {pattern})'))


def size(walk: Walk, node: Call) -> Term:
    """Return the length of a string, or of what an attribute holds."""
    term = walk.term(node.arguments[0])
    if term.kind is Kind.TEXT:
        return Term(Kind.INT, f"length({term.sql})::numeric")
    if not term.is_json:
        raise walk.refuse(node, "must be the size of a string, or of an attribute")
    keys = f"(SELECT count(*) FROM jsonb_object_keys({term.sql}))"
    return Term(
        Kind.INT,
        f"(CASE jsonb_typeof({term.sql}) WHEN 'string' THEN length({term.text})"
        f" WHEN 'array' THEN jsonb_array_length({term.sql})"
        f" WHEN 'object' THEN {keys} END)::numeric",
    )


def _of_text(walk: Walk, node: Node, term: Term, sql: str) -> str:
    if term.kind is Kind.TEXT:
        return sql
    if not term.is_json:
        raise walk.refuse(node, "must be a string")
    return f"CASE WHEN jsonb_typeof({term.sql}) = 'string' THEN {sql} END"
