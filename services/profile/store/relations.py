"""Relations: edges under the ids used, kept by both their ends, read as those of people.

An edge is written first by the end it comes from and then by the one it leads to, many edges
in their order: two writers of the same edges then wait for each other in a line, and both
tables hold the same.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import FailedPrecondition, MeshError, invalid_field
from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.profile.convert.moments import micros
from services.profile.model import PersonKey
from services.profile.model.changes import Touched
from services.profile.model.relations import Edge, EdgeRow, EdgeWrite, Put
from services.profile.rules import relations as rules
from services.profile.store import segments
from services.profile.store.definitions import Definitions, Edition
from services.profile.store.erasures import check_not_erased, refused
from services.profile.store.holding import Belonging, attempted, find
from services.profile.store.rows import columns

# So many rows a statement that none runs into its time limit.
_ERASE_MAX = 20_000

# All rows of the same two people, whatever ids they were written under; locked in the order given.
# Each look at the edges is planned by itself: of all at once the planner believes, while a table is
# small, that the kind alone finds them.
_BETWEEN = """
SELECT w.i, e.from_member, e.to_member, e.attributes, e.update_time
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[])
    AS w (workspace, i, from_id, kind, to_id)
LEFT JOIN profiles AS f ON f.workspace = w.workspace AND f.profile_id = w.from_id
LEFT JOIN profiles AS t ON t.workspace = w.workspace AND t.profile_id = w.to_id
CROSS JOIN LATERAL (
    SELECT r.from_member, r.to_member, r.attributes, r.update_time FROM relations AS r
    WHERE r.workspace = w.workspace AND r.kind = w.kind
        AND r.from_member = ANY (
            CASE WHEN cardinality(f.member_ids) > 0 THEN f.member_ids ELSE ARRAY[w.from_id] END)
        AND r.to_member = ANY (
            CASE WHEN cardinality(t.member_ids) > 0 THEN t.member_ids ELSE ARRAY[w.to_id] END)
    FOR UPDATE
) AS e
"""
_PUT = """
INSERT INTO relations AS e (workspace, from_member, kind, to_member, attributes, create_time,
    update_time)
SELECT $1, from_id, kind, to_id, attributes, update_time, update_time
FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[])
    AS w (from_id, kind, to_id, attributes, update_time)
ON CONFLICT (workspace, from_member, kind, to_member) DO UPDATE SET
    attributes = excluded.attributes, update_time = excluded.update_time
RETURNING from_member, kind, to_member, attributes, create_time, update_time, xmax = 0
"""
_MIRROR = """
INSERT INTO relations_in AS e (workspace, from_member, kind, to_member, attributes, create_time,
    update_time)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[],
    $7::timestamptz[])
ON CONFLICT (workspace, to_member, kind, from_member) DO UPDATE SET
    attributes = excluded.attributes, update_time = excluded.update_time
"""


def _delete(table: str) -> str:
    return f"""
DELETE FROM {table} AS e USING unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS w (workspace, from_id, kind, to_id)
WHERE e.workspace = w.workspace AND e.from_member = w.from_id AND e.kind = w.kind
    AND e.to_member = w.to_id
"""  # noqa: S608 — put together from constants


def _some_of(table: str, here: str, there: str) -> str:
    # By the key, and on from where the last ended: what is deleted is not gone over again.
    return f"""
SELECT from_member, kind, to_member FROM {table}
WHERE workspace = $1 AND {here} = $2 AND (kind, {there}) > ($3, $4)
ORDER BY kind, {there} LIMIT $5
"""  # noqa: S608 — put together from constants


_FROM = _some_of("relations", "from_member", "to_member")
_TO = _some_of("relations_in", "to_member", "from_member")


class PutResult(NamedTuple):
    """What became of a batch."""

    created: int
    updated: int
    failed: dict[int, MeshError]
    """By the index it was given under."""


class Relations:
    """Changes edges."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        """Take the pool, and what says which segments depend on relations."""
        self._database = database
        self._definitions = definitions

    async def put(self, workspace: str, puts: Mapping[int, Put], now: datetime) -> PutResult:
        """Write edges, new ones and over old ones, each by itself."""

        async def work(db: Connection) -> PutResult:
            return await self._put(db, workspace, puts, now)

        return await attempted(self._database, work)

    async def delete(self, workspace: str, edges: Sequence[Edge], now: datetime) -> int:
        """Remove edges of these people, whatever ids they were written under; return how many."""

        async def work(db: Connection) -> int:
            return await self._delete(db, workspace, edges, now)

        return await attempted(self._database, work)

    async def _put(
        self, db: Connection, workspace: str, puts: Mapping[int, Put], now: datetime
    ) -> PutResult:
        edition = await self._definitions.current(db)
        edges = [put.edge for put in puts.values()]
        ends = await _ends(db, workspace, edges, hold=_concerns(edition, workspace))
        failed = await _failed(db, workspace, puts, ends, now)
        good = [put for index, put in puts.items() if index not in failed]
        rows = await _between(db, workspace, [put.edge for put in good], ends)
        changes = (rules.change(put, theirs, now) for put, theirs in zip(good, rows, strict=True))
        writes = sorted(one for one in changes if one is not None)
        inserted = await _write(db, workspace, writes)
        touched = _touched(ends, [one.put.edge for one in writes])
        await segments.reevaluate(db, touched, edition, micros(now))
        await check_not_erased(db, _people(workspace, [put.edge for put in good]), now)
        # Of two who write a new edge at once only the first has made it; the second mostly says
        # the same, being a repeat.
        created = sum(one.is_new and one.put.edge in inserted for one in writes)
        return PutResult(created, sum(one.is_other for one in writes), failed)

    async def _delete(
        self, db: Connection, workspace: str, edges: Sequence[Edge], now: datetime
    ) -> int:
        edition = await self._definitions.current(db)
        ends = await _ends(db, workspace, edges, hold=_concerns(edition, workspace))
        once = {_of_people(ends, edge): edge for edge in edges}
        rows = await _between(db, workspace, list(once.values()), ends)
        found = [(edge, one) for edge, one in zip(once.values(), rows, strict=True) if one]
        gone = [Edge(row.from_id, edge.kind, row.to_id) for edge, one in found for row in one]
        await _remove(db, workspace, sorted(gone))
        touched = _touched(ends, [edge for edge, _ in found])
        await segments.reevaluate(db, touched, edition, micros(now))
        return len(found)


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete all edges from and to the person, in the caller's transaction.

    Before the profile itself goes: it knows the ids.
    """
    person = (workspace, person_id)
    deleted = 0
    for member in sorted((await find(db, [person]))[person].member_ids):
        deleted += await _erase_from(db, _FROM, workspace, member)
        deleted += await _erase_from(db, _TO, workspace, member)
    return {"relations": deleted}


async def _erase_from(db: Connection, query: str, workspace: str, member_id: str) -> int:
    """Delete the edges of one id that a query of `_some_of` finds; return how many."""
    deleted, place = 0, ("", "")
    while rows := await db.fetch(query, workspace, member_id, *place, _ERASE_MAX):
        edges = [Edge(*row) for row in rows]
        await _remove(db, workspace, sorted(edges))
        last = edges[-1]
        place = last.kind, last.to_id if last.from_id == member_id else last.from_id
        deleted += len(edges)
    return deleted


def _concerns(edition: Edition, workspace: str) -> bool:
    """Return whether a segment asks for relations: who may go in or out must be held."""
    known = edition.segments.get(workspace, ())
    return any(segment.filter.depends_on.relations for segment in known)


async def _ends(
    db: Connection, workspace: str, edges: Collection[Edge], *, hold: bool
) -> dict[str, Belonging]:
    """Return whose the ids are; with `hold`, hold those whom an edge goes out from."""
    from_ids = {(workspace, edge.from_id) for edge in edges}
    to_ids = {(workspace, edge.to_id) for edge in edges}
    if not hold:
        found = await find(db, from_ids | to_ids)
    else:
        held = await find(db, from_ids, hold=True)
        found = held | await find(db, to_ids - from_ids)
    return {key[1]: belonging for key, belonging in found.items()}


async def _failed(
    db: Connection,
    workspace: str,
    puts: Mapping[int, Put],
    ends: Mapping[str, Belonging],
    now: datetime,
) -> dict[int, MeshError]:
    edges = [put.edge for put in puts.values()]
    names = {profile_id: belonging.key[1] for profile_id, belonging in ends.items()}
    reasons = rules.refusals(edges, names)
    erased = await refused(db, _people(workspace, edges), now)
    found: dict[int, MeshError] = {}
    for at, (index, put) in enumerate(puts.items()):
        by = erased.get((workspace, put.edge.from_id)) or erased.get((workspace, put.edge.to_id))
        if at in reasons:
            found[index] = invalid_field(f"relations[{index}]", reasons[at])
        elif by is not None:
            found[index] = _was_erased(workspace, by)
    return found


async def _between(
    db: Connection, workspace: str, edges: Sequence[Edge], ends: Mapping[str, Belonging]
) -> list[list[EdgeRow]]:
    """Return for each edge the rows between the same two people, and lock them."""
    found: defaultdict[int, list[EdgeRow]] = defaultdict(list)
    asked = sorted((_of_people(ends, edge), index) for index, edge in enumerate(edges))
    rows = [(workspace, index, *edge) for edge, index in asked]
    for row in await db.fetch(_BETWEEN, *columns(rows, 5)) if rows else ():
        found[row[0]].append(EdgeRow(*row[1:]))
    return [found[index] for index in range(len(edges))]


async def _write(db: Connection, workspace: str, writes: Sequence[EdgeWrite]) -> set[Edge]:
    """Write the edges at both ends; return those that were inserted."""
    if not writes:
        return set()
    rows = [(*one.put.edge, one.put.attributes, one.update_time) for one in writes]
    written = await db.fetch(_PUT, workspace, *columns(rows, 5))
    await db.execute(_MIRROR, workspace, *columns([tuple(row)[:6] for row in written], 6))
    return {Edge(*row[:3]) for row in written if row[6]}


async def _remove(db: Connection, workspace: str, edges: Sequence[Edge]) -> None:
    for table in ("relations", "relations_in"):
        await db.execute(_delete(table), [workspace] * len(edges), *columns(edges, 3))


def _of_people(ends: Mapping[str, Belonging], edge: Edge) -> Edge:
    return Edge(ends[edge.from_id].key[1], edge.kind, ends[edge.to_id].key[1])


def _touched(ends: Mapping[str, Belonging], changed: Collection[Edge]) -> list[Touched]:
    """Return whose edges have changed; of who has no profile, no segment knows."""
    kinds: defaultdict[PersonKey, set[str]] = defaultdict(set)
    for edge in changed:
        belonging = ends[edge.from_id]
        if belonging.is_known:
            kinds[belonging.key].add(edge.kind)
    return [Touched(key, relations=frozenset(kinds[key])) for key in sorted(kinds)]


def _people(workspace: str, edges: Collection[Edge]) -> set[PersonKey]:
    return {(workspace, end) for edge in edges for end in (edge.from_id, edge.to_id)}


def _was_erased(workspace: str, erasure_id: UUID) -> FailedPrecondition:
    name = format_name(workspace, "erasures", str(erasure_id))
    return FailedPrecondition(
        ErrorReason.ERROR_REASON_PERSON_ERASED,
        f"the profile was erased and is refused for a while: {name}",
        metadata={"erasure": name},
    )
