"""Says what a row of a table of relations means."""

import re
from typing import Any

from beckon.profile.v1.relation_service_pb2 import Relation

from cli.tables.mapping import Unfit, identifier
from cli.tables.rows import Row
from cli.tables.values import Type, convert, text_of

_OWN = {"from", "kind", "to", "attributes"}
_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}")


def relation_in(row: Row, parent: str, kind: str) -> Relation:
    """Return the relation of a row; `kind` where the row does not say one.

    Raises:
        Unfit: The row makes no sense.
    """
    relation = Relation(kind=_kind(row, kind), to=f"{parent}/profiles/{identifier(row, 'to')}")
    setattr(relation, "from", f"{parent}/profiles/{identifier(row, 'from')}")
    relation.attributes.update(_attributes(row))
    return relation


def edge(relation: Relation) -> tuple[str, str, str]:
    """Return what makes a relation this one and no other."""
    return getattr(relation, "from"), relation.kind, relation.to


def _kind(row: Row, otherwise: str) -> str:
    try:
        kind = text_of(row.values.get("kind") or otherwise)
    except ValueError as error:
        raise Unfit("kind", str(error)) from error
    if _KIND.fullmatch(kind) is None:
        raise Unfit(
            "kind", f"{kind!r} is no kind: snake_case, as member_of; --kind gives one to all"
        )
    return kind


def _attributes(row: Row) -> dict[str, Any]:
    others = {
        name: value
        for name, value in row.values.items()
        if name not in _OWN and value is not None and value != ""
    }
    given = row.values.get("attributes")
    try:
        return (convert(given, Type.OBJECT) if given else {}) | others
    except ValueError as error:
        raise Unfit("attributes", str(error)) from error
