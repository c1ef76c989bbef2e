"""Walking along the edges of a person, however many, in steps that each look anew.

A walk goes by the ids at the other end, in their order: that order does not change when people
are united or parted on the way. Whoever has several such ids is met at the first of them.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from mesh.postgres import Database
from services.profile.model import PersonKey
from services.profile.model.relations import BLOCKS, Related, Walk
from services.profile.model.segments import Binding, Filter
from services.profile.store.holding import find

# Between two looks at the database.
CHUNK = 1000

_BEGINNING = ("", "")


class Step(NamedTuple):
    """Some of a walk."""

    person: PersonKey
    """Whose edges they are, under the name that stays."""
    found: list[Related]
    place: tuple[str, str]
    """Kind and id that the walk has come to."""


class RelatedPeople:
    """Follows edges."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def list_after(
        self, key: PersonKey, walk: Walk, *, place: tuple[str, str] = _BEGINNING, limit: int
    ) -> Step:
        """Return the next `limit` edges of the person, fewer where there are no more."""
        found: list[Related] = []
        person = key
        async for step in self.follow(key, walk, place=place, chunk=limit):
            person, found = step.person, found + step.found
            if len(found) >= limit:
                break
        last = found[:limit]
        return Step(person, last, (last[-1].kind, last[-1].other_id) if last else place)

    async def follow(
        self,
        key: PersonKey,
        walk: Walk,
        wanted: Filter | None = None,
        *,
        now_us: int = 0,
        place: tuple[str, str] = _BEGINNING,
        chunk: int = CHUNK,
    ) -> AsyncIterator[Step]:
        """Walk to the end; no connection is held while the caller looks at a step."""
        while True:
            async with self._database.connection() as db:
                person = (await find(db, [key]))[key]
                ids = sorted(person.member_ids)
                own = (key[0], ids, walk.kind or place[0], place[1], chunk)
                binding = Binding(now_us, first=len(own) + 1)
                query = _query(walk, wanted.add_to(binding) if wanted is not None else "")
                found = await db.fetch(query, *own, *binding.parameters)
            rows = [Related(*row) for row in found]
            if rows:
                place = (rows[-1].kind, rows[-1].other_id)
            yield Step(person.key, [row for row in rows if row.passes], place)
            if len(rows) < chunk:
                return


def _query(walk: Walk, filter_sql: str) -> str:
    here, there = ("to_member", "from_member") if walk.incoming else ("from_member", "to_member")
    table, back = ("relations_in", "relations") if walk.incoming else ("relations", "relations_in")
    # Of who has but this one id there is no need to look.
    first = f"SELECT FROM {_edges(table, here, there)} AND e.kind = page.kind AND e.{there}"
    conditions = [
        "page.other <> ALL ($2::text[])",
        f"(cardinality(o.ids) = 1 OR NOT EXISTS ({first} < page.other))",
    ]
    if walk.mutual:
        conditions.append(
            f"EXISTS (SELECT FROM {_edges(back, there, here)} AND e.kind = page.kind)"
        )
    if not walk.include_blocked:
        conditions.append(_unblocked(table, back, here, there))
    if filter_sql:
        conditions.append(f"({filter_sql})")
    after = f"f.kind = $3 AND f.{there} > $4" if walk.kind else f"(f.kind, f.{there}) > ($3, $4)"
    return f"""
WITH page AS MATERIALIZED (
    SELECT DISTINCT ON (n.kind, n.other) n.*
    FROM unnest($2::text[]) AS m (id) CROSS JOIN LATERAL (
        SELECT f.workspace, f.kind, f.{there} AS other, f.attributes, f.create_time, f.update_time
        FROM {table} AS f
        WHERE f.workspace = $1 AND f.{here} = m.id AND {after}
        ORDER BY f.kind, f.{there} LIMIT $5
    ) AS n
    ORDER BY n.kind, n.other, n.update_time DESC, m.id DESC LIMIT $5
), named AS MATERIALIZED (
    SELECT page.*, COALESCE(NULLIF(a.merged_into, ''), page.other) AS name FROM page
    LEFT JOIN profiles AS a ON a.workspace = page.workspace AND a.profile_id = page.other
)
SELECT page.kind, page.other, page.name, r.attributes, r.create_time,
    r.update_time, ({" AND ".join(conditions)}) IS TRUE
FROM named AS page
LEFT JOIN profiles AS p ON p.workspace = page.workspace AND p.profile_id = page.name
CROSS JOIN LATERAL (
    SELECT CASE WHEN cardinality(p.member_ids) > 0 THEN p.member_ids ELSE ARRAY[page.other] END
) AS o (ids)
CROSS JOIN LATERAL (
    SELECT (array_agg(e.attributes ORDER BY e.update_time DESC, e.from_member DESC,
        e.to_member DESC))[1] AS attributes, min(e.create_time), max(e.update_time)
    FROM {_edges(table, here, there)} AND e.kind = page.kind
        AND (cardinality($2::text[]) > 1 OR cardinality(o.ids) > 1)
) AS u (attributes, create_time, update_time)
CROSS JOIN LATERAL (
    SELECT COALESCE(u.attributes, page.attributes), COALESCE(u.create_time, page.create_time),
        COALESCE(u.update_time, page.update_time)
) AS r (attributes, create_time, update_time)
ORDER BY page.kind, page.other
"""  # noqa: S608 — put together from constants, and from a filter that was compiled


def _unblocked(table: str, back: str, here: str, there: str) -> str:
    """Return the condition that neither blocks the other.

    Most block nobody and are blocked by nobody: that is looked up once a step, at half of
    the cost of asking it of everybody.
    """
    ends = ((table, here, there), (back, there, here))
    of_kind = f"AND e.kind = '{BLOCKS}'"
    any_at_all = " OR ".join(
        f"EXISTS (SELECT FROM {one} AS e WHERE e.workspace = $1"
        f" AND e.{mine} = ANY ($2::text[]) {of_kind})"
        for one, mine, _ in ends
    )
    between = " OR ".join(
        f"EXISTS (SELECT FROM {_edges(one, mine, other)} {of_kind})" for one, mine, other in ends
    )
    return f"CASE WHEN {any_at_all} THEN NOT ({between}) ELSE true END"


def _edges(table: str, here: str, there: str) -> str:
    """Return where the edges between the two people stand in a table, of whatever kind.

    `here` is where the table has the one whose walk it is.
    """
    return (
        f"{table} AS e WHERE e.workspace = $1 AND e.{here} = ANY ($2::text[])"
        f" AND e.{there} = ANY (o.ids)"
    )
