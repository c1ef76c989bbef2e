"""What a put of edges changes, and which edges cannot be."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from services.profile.model.relations import Edge, EdgeRow, EdgeWrite, Put

ATTRIBUTES_BYTES_MAX = 4096

_MICROSECOND = timedelta(microseconds=1)

NameOf = Mapping[str, str]
"""The name under which a person goes, by each id."""


def refusals(edges: Sequence[Edge], names: NameOf) -> dict[int, str]:
    """Return why some of the edges cannot be written, by their index.

    Two ids of one person are one end: an edge between them is to herself, and an
    edge of each to the same third is the same edge.
    """
    refused: dict[int, str] = {}
    seen: set[Edge] = set()
    for index, edge in enumerate(edges):
        between = Edge(names[edge.from_id], edge.kind, names[edge.to_id])
        if between.from_id == between.to_id:
            refused[index] = "leads from a profile to itself"
        elif between in seen:
            refused[index] = "is in the batch twice"
        seen.add(between)
    return refused


def change(put: Put, rows: Collection[EdgeRow], now: datetime) -> EdgeWrite | None:
    """Return what is to be written, given the rows of the same two people; None: nothing.

    The row written last says what is known of the edge. A put that says the same is
    written down all the same where its own ids have no row yet: parted again, they
    keep it.
    """
    if not rows:
        return EdgeWrite(put, now, is_new=True, is_other=False)
    last = max(rows, key=lambda row: (row.update_time, row.from_id, row.to_id))
    own = any((row.from_id, row.to_id) == (put.edge.from_id, put.edge.to_id) for row in rows)
    if json.loads(last.attributes) != json.loads(put.attributes):
        # Whatever the clocks say, it comes after what it replaces.
        at = max(now, last.update_time + _MICROSECOND)
        return EdgeWrite(put, at, is_new=False, is_other=True)
    return None if own else EdgeWrite(put, last.update_time, is_new=False, is_other=False)
