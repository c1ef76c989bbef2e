"""Which ids are one person: names, members, and the edges that say so."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from mesh.postgres import Connection
from services.profile.model import PersonKey
from services.profile.model.persons import Edge, EdgeOrigin, EdgeState, Person
from services.profile.store.rows import columns

_MEMBERS = """
SELECT r.member_ids FROM profiles AS p JOIN profiles AS r ON r.workspace = p.workspace
    AND r.profile_id = CASE p.merged_into WHEN '' THEN p.profile_id ELSE p.merged_into END
WHERE p.workspace = $1 AND p.profile_id = $2
"""
_EDGE_COLUMNS = (
    "m.workspace, m.merge_id, m.from_id, m.into_id, m.state, m.origin, m.reason, m.create_time,"
    " m.undo_time, m.sequence"
)
# In the order given: the numbers grow with it.
_ADD = """
INSERT INTO merges (workspace, person_id, merge_id, from_id, into_id, state, origin, reason,
    create_time)
SELECT workspace, person_id, merge_id, from_id, into_id, state, origin, reason, create_time
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::smallint[],
    $7::smallint[], $8::text[], $9::timestamptz[]) WITH ORDINALITY
    AS w (workspace, person_id, merge_id, from_id, into_id, state, origin, reason, create_time, i)
ORDER BY i
"""
_KNOWN = f"""
SELECT {_EDGE_COLUMNS} FROM unnest($1::text[], $2::uuid[]) AS w (workspace, merge_id)
JOIN merges AS m USING (workspace, merge_id)
"""  # noqa: S608 — put together from constants
_LIVE = f"""
SELECT {_EDGE_COLUMNS} FROM merges AS m WHERE workspace = $1 AND person_id = $2 AND state = 1
ORDER BY sequence
"""  # noqa: S608 — put together from constants
# Also what was refused or undone between one of these ids and somebody else.
_LIST = f"""
SELECT {_EDGE_COLUMNS} FROM merges AS m
WHERE workspace = $1 AND (person_id = $2 OR from_id = ANY($3::text[])) AND sequence < $4
ORDER BY sequence DESC LIMIT $5
"""  # noqa: S608 — put together from constants
_FOLLOW = """
UPDATE merges SET person_id = $2
WHERE workspace = $1 AND person_id = ANY($3::text[]) AND into_id = ANY($4::text[])
"""
_UNDO = """
UPDATE merges SET state = 2, undo_time = $3 WHERE workspace = $1 AND merge_id = $2
"""
_ERASE = """
DELETE FROM merges WHERE workspace = $1 AND (person_id = $2 OR from_id = ANY($3::text[])
    OR into_id = ANY($3::text[]))
"""

LATEST = 2**63 - 1
"""The sequence after which there is none."""


async def members(db: Connection, person: PersonKey) -> list[str]:
    """Return all ids of the person that has this one, itself among them."""
    found: list[str] | None = await db.fetchval(_MEMBERS, *person)
    return found or [person[1]]


async def add_edges(db: Connection, edges: Sequence[tuple[str, Edge]]) -> None:
    """Write new edges, each with the name of the person it belongs to."""
    if edges:
        rows = [
            (
                edge.workspace,
                name,
                edge.merge_id,
                edge.from_id,
                edge.into_id,
                edge.state,
                edge.origin,
                edge.reason,
                edge.create_time,
            )
            for name, edge in edges
        ]
        await db.execute(_ADD, *columns(rows, 9))


async def find_edges(
    db: Connection, merges: Iterable[tuple[str, UUID]]
) -> dict[tuple[str, UUID], Edge]:
    """Return those of the edges that are there."""
    wanted = list(merges)
    if not wanted:
        return {}
    edges = map(_edge_of, await db.fetch(_KNOWN, *columns(wanted, 2)))
    return {(edge.workspace, edge.merge_id): edge for edge in edges}


async def live_edges(db: Connection, person: PersonKey) -> list[Edge]:
    """Return the edges that make the person one, in their order."""
    return [_edge_of(row) for row in await db.fetch(_LIVE, *person)]


async def list_edges(
    db: Connection, person: Person, *, before: int = LATEST, limit: int
) -> list[Edge]:
    """Return the edges of a person before a sequence, newest first."""
    rows = await db.fetch(_LIST, *person.key, list(person.ids), before, limit)
    return [_edge_of(row) for row in rows]


async def follow(
    db: Connection, people: Iterable[Person], before: Mapping[PersonKey, Person]
) -> None:
    """Let edges go with the people whose ids they unite."""
    names = [key[1] for key in before]
    for person in people:
        await db.execute(_FOLLOW, *person.key, names, list(person.ids))


async def undo(db: Connection, edge: Edge, now: datetime) -> None:
    """Mark the edge as taken back."""
    await db.execute(_UNDO, edge.workspace, edge.merge_id, now)


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete all edges that name an id of the person; return how many."""
    ids = await members(db, (workspace, person_id))
    status = await db.execute(_ERASE, workspace, person_id, ids)
    return {"merges": int(status.rpartition(" ")[2])}


def _edge_of(row: asyncpg.Record) -> Edge:
    return Edge(
        row[0],
        row[1],
        row[2],
        row[3],
        EdgeState(row[4]),
        EdgeOrigin(row[5]),
        row[6],
        row[7],
        row[8],
        row[9],
    )
