"""Our own functions: what she did of late, whom she follows, how she is reached."""

from services.profile.convert.predicates import functions
from services.profile.convert.predicates.terms import Kind, Term
from services.profile.convert.predicates.times import literal_span
from services.profile.convert.predicates.tree import Call, Node
from services.profile.convert.predicates.walk import Walk

_ADDRESS = {"email": "email", "sms": "phone"}


def event_count(walk: Walk, node: Call) -> Term:
    kind, window = _event_window(walk, node, node.arguments[0], node.arguments[1])
    return Term(Kind.INT, functions.event_count(kind, window))


def event_sum(walk: Walk, node: Call) -> Term:
    key = walk.slot(walk.word(node.arguments[1]), "text")
    kind, window = _event_window(walk, node, node.arguments[0], node.arguments[2])
    return Term(Kind.DOUBLE, functions.event_sum(kind, key, window))


def has_relation(walk: Walk, node: Call) -> Term:
    _not_in_loop(walk, node, "relations cannot be looked up")
    kind, other = map(walk.word, node.arguments)
    walk.needs.relations.add(kind)
    sql = functions.has_relation(walk.slot(kind, "text"), walk.slot(other, "text"))
    return Term(Kind.BOOL, sql)


def relation_count(walk: Walk, node: Call) -> Term:
    _not_in_loop(walk, node, "relations cannot be counted")
    kind = walk.word(node.arguments[0])
    walk.needs.relations.add(kind)
    return Term(Kind.INT, functions.relation_count(walk.slot(kind, "text")))


def reachable(walk: Walk, node: Call) -> Term:
    _not_in_loop(walk, node, "reachable cannot be asked")
    channel = walk.word(node.arguments[0])
    if channel not in functions.CHANNELS:
        known = ", ".join(functions.CHANNELS)
        raise walk.refuse(node.arguments[0], f"must be one of {known}")
    sql, due = functions.reachable(channel)
    if channel in _ADDRESS:
        walk.needs.attributes.add(_ADDRESS[channel])
    else:
        walk.needs.devices = True
        walk.dues.append(due)
    return Term(Kind.BOOL, sql)


def _not_in_loop(walk: Walk, node: Call, refusal: str) -> None:
    """Refuse what would be asked of the database anew with every element, for one answer."""
    if walk.variable:
        raise walk.refuse(node, f"{refusal} inside a loop")


def _event_window(walk: Walk, node: Call, kind: Node, window: Node) -> tuple[str, str]:
    _not_in_loop(walk, node, "events cannot be counted")
    term = walk.term(window)
    span = literal_span(window)
    if span is None or not 0 < span <= functions.WINDOW_MAX_US:
        raise walk.refuse(window, 'must be a literal like duration("72h"), to 366 days')
    word = walk.word(kind)
    walk.needs.event_types.add(word)
    slot = walk.slot(word, "text")
    walk.dues.append(functions.window_due(slot, term.sql))
    return slot, term.sql
