"""Forgetting people: their deliveries, and what others were yet to hear of them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from mesh.postgres import Connection, Database
from services.delivery.model import NewDelivery, Peer, State

Person: TypeAlias = tuple[str, str]
"""Workspace and profile id."""

# Busy is what was handed over and is leased, as a provider may be getting it at this moment, and
# what somebody is changing: whoever settles many at once takes them in another order, and to wait
# for each other would be to wait in a circle.
_HOLD = f"""
WITH theirs AS (
    SELECT d.delivery_id FROM deliveries AS d
    JOIN unnest($1::text[], $2::text[]) AS w (workspace, profile) USING (workspace, profile)
), held AS (
    SELECT delivery_id,
        state = {int(State.SENDING)} AND handed_over AND due_time > $3 AS is_busy
    FROM deliveries WHERE delivery_id IN (SELECT delivery_id FROM theirs)
    FOR UPDATE SKIP LOCKED
)
SELECT delivery_id, coalesce(is_busy, true) FROM theirs LEFT JOIN held USING (delivery_id)
"""  # noqa: S608 — names and numbers of ours
# Nobody is told: who would be told forgets the person as well.
_STOP = f"""
UPDATE deliveries SET state = {int(State.CANCELED)}, due_time = NULL, handed_over = false,
    data = NULL
WHERE delivery_id = ANY($1::uuid[]) AND due_time IS NOT NULL
"""  # noqa: S608 — names and numbers of ours
_DELETE = "DELETE FROM deliveries WHERE delivery_id = ANY($1::uuid[])"

# A row tells of many people. Read from end to end: it holds what was not told for seconds.
_NEWS = """
SELECT outbox_id, peer FROM outbox
WHERE profiles && $2::text[] AND EXISTS (
    SELECT FROM unnest(workspaces, profiles) AS e (workspace, profile)
    JOIN unnest($1::text[], $2::text[]) AS w (workspace, profile) USING (workspace, profile))
ORDER BY outbox_id FOR UPDATE
"""
_UNSAY = """
UPDATE outbox AS o SET delivery_ids = l.delivery_ids, rounds = l.rounds, states = l.states,
    channels = l.channels, workspaces = l.workspaces, profiles = l.profiles,
    campaigns = l.campaigns
FROM (
    SELECT o.outbox_id, count(w.profile) AS unsaid,
        coalesce(array_agg(e.delivery_id) FILTER (WHERE w.profile IS NULL), '{}') AS delivery_ids,
        coalesce(array_agg(e.round) FILTER (WHERE w.profile IS NULL), '{}') AS rounds,
        coalesce(array_agg(e.state) FILTER (WHERE w.profile IS NULL), '{}') AS states,
        coalesce(array_agg(e.channel) FILTER (WHERE w.profile IS NULL), '{}') AS channels,
        coalesce(array_agg(e.workspace) FILTER (WHERE w.profile IS NULL), '{}') AS workspaces,
        coalesce(array_agg(e.profile) FILTER (WHERE w.profile IS NULL), '{}') AS profiles,
        coalesce(array_agg(e.campaign) FILTER (WHERE w.profile IS NULL), '{}') AS campaigns
    FROM outbox AS o
    CROSS JOIN unnest(o.delivery_ids, o.rounds, o.states, o.channels, o.workspaces, o.profiles,
        o.campaigns) AS e (delivery_id, round, state, channel, workspace, profile, campaign)
    LEFT JOIN unnest($1::text[], $2::text[]) AS w (workspace, profile)
        ON w.workspace = e.workspace AND w.profile = e.profile
    WHERE o.outbox_id = ANY($3::bigint[]) GROUP BY o.outbox_id
) AS l
WHERE o.outbox_id = l.outbox_id RETURNING o.peer, l.unsaid
"""
_EMPTIED = "DELETE FROM outbox WHERE outbox_id = ANY($1::bigint[]) AND cardinality(profiles) = 0"

_HASH = "sha256(convert_to(w.workspace || '/' || w.profile, 'UTF8'))"
_MARK = f"""
INSERT INTO tombstones (person_hash, create_time)
SELECT {_HASH}, $3 FROM unnest($1::text[], $2::text[]) AS w (workspace, profile)
ON CONFLICT (person_hash) DO UPDATE SET create_time = excluded.create_time
"""  # noqa: S608 — put together from constants
_MARKED = f"""
SELECT w.workspace, w.profile FROM unnest($1::text[], $2::text[]) AS w (workspace, profile)
WHERE EXISTS (SELECT FROM tombstones AS t WHERE t.person_hash = {_HASH})
"""  # noqa: S608 — put together from constants
_REMEMBER = """
INSERT INTO erasures (erasure, deliveries, receipts, create_time) VALUES ($1, $2, $3, $4)
ON CONFLICT (erasure) DO UPDATE SET deliveries = erasures.deliveries + excluded.deliveries,
    receipts = erasures.receipts + excluded.receipts
RETURNING deliveries, receipts
"""


class Erased(NamedTuple):
    """How far it came."""

    found: Collection[UUID]
    """All deliveries of the people."""
    busy: Collection[UUID]
    """Those that a provider may be getting, or that somebody is changing; while there are any
    nothing is removed."""
    counts: Mapping[str, int]
    """How much was removed for the erasure, now or before, by kind."""


class ErasureStore:
    """Removes people from the tables."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def mark(self, people: Collection[Person], *, now: datetime) -> None:
        """Let everybody know, before the rest begins, that the people are being erased."""
        async with self._db.connection() as connection:
            await connection.execute(_MARK, *_columns(people), now)

    async def drop_late(self, deliveries: Collection[NewDelivery]) -> set[UUID]:
        """Remove those of the deliveries whose people were erased of late; return which.

        To be called once the deliveries are written. An erasure marks first and looks for
        deliveries then: either it sees these, or its mark is seen here.
        """
        async with self._db.connection() as connection:
            # Mostly nobody was erased of late.
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM tombstones)"):
                return set()
            people = {(one.workspace, one.profile) for one in deliveries}
            rows = await connection.fetch(_MARKED, *_columns(people))
            marked = {(row[0], row[1]) for row in rows}
            late = {one.delivery_id for one in deliveries if (one.workspace, one.profile) in marked}
            if late:
                await connection.execute(_DELETE, late)
        return late

    async def forget(self, before: datetime) -> None:
        """Forget who was erased that long ago: nothing of theirs is on its way any more."""
        async with self._db.connection() as connection:
            await connection.execute("DELETE FROM tombstones WHERE create_time < $1", before)
            await connection.execute("DELETE FROM erasures WHERE create_time < $1", before)

    async def erase(self, erasure: str, people: Collection[Person], *, now: datetime) -> Erased:
        """Remove all deliveries of the people, or, where some are busy, stop all others."""
        columns = _columns(people)
        async with self._db.transaction() as connection:
            rows = await connection.fetch(_HOLD, *columns, now)
            found, busy = [row[0] for row in rows], [row[0] for row in rows if row[1]]
            if busy:
                await connection.execute(_STOP, [row[0] for row in rows if not row[1]])
                return Erased(found, busy, {})
            await connection.execute(_DELETE, found)
            receipts = await _unsay(connection, columns)
            row = await connection.fetchrow(_REMEMBER, erasure, len(found), receipts, now)
        assert row is not None
        return Erased(found, (), dict(row))


def _columns(people: Collection[Person]) -> tuple[list[str], list[str]]:
    return [one[0] for one in people], [one[1] for one in people]


async def _unsay(db: Connection, columns: tuple[list[str], list[str]]) -> int:
    rows = await db.fetch(_NEWS, *columns)
    ids = [row[0] for row in rows]
    if not ids:
        return 0
    unsaid = await db.fetch(_UNSAY, *columns, ids)
    await db.execute(_EMPTIED, ids)
    return sum(count for peer, count in unsaid if peer == Peer.INGEST)
