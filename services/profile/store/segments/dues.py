"""Looks again at those for whom time alone may have changed something: by an index, nobody else."""

import structlog
from asyncpg import exceptions as driver

from mesh.errors import MeshError
from mesh.postgres import Database
from services.profile.model import PersonKey
from services.profile.store.definitions import Definitions
from services.profile.store.rows import columns
from services.profile.store.segments.asking import Look
from services.profile.store.segments.evaluating import look
from services.profile.store.segments.failing import is_its_own_fault

log = structlog.get_logger(__name__)

# Persons who are looked at in one transaction.
BATCH = 500

# Held, as by everybody who depends on a person staying one. Who is held by somebody else is
# looked at in that transaction, or in our next.
_HOLD = """
SELECT p.workspace, p.profile_id FROM (
    SELECT workspace, person_id FROM segment_members
    WHERE due_us <= $1 ORDER BY due_us LIMIT $2) AS m
JOIN profiles AS p ON p.workspace = m.workspace AND p.profile_id = m.person_id
    AND p.merged_into = ''
ORDER BY p.workspace, p.profile_id FOR NO KEY UPDATE OF p SKIP LOCKED
"""
# By the people and not by the time, whatever the planner thinks of those.
_DUE = """
SELECT m.workspace, m.person_id, m.segment_key
FROM unnest($1::text[], $2::text[]) AS w (workspace, person_id)
CROSS JOIN LATERAL (SELECT m.* FROM segment_members AS m WHERE m.workspace = w.workspace
    AND m.person_id = w.person_id OFFSET 0) AS m
WHERE m.due_us <= $3
"""
# Of segments that are gone, and of who is no person: nobody will ever look at them.
_DROP = """
UPDATE segment_members AS m SET due_us = NULL
FROM (SELECT workspace, person_id, segment_key FROM segment_members
    WHERE due_us <= $1 ORDER BY due_us LIMIT $2 FOR UPDATE SKIP LOCKED) AS due
WHERE m.workspace = due.workspace AND m.person_id = due.person_id
    AND m.segment_key = due.segment_key AND m.due_us <= $1
    AND (NOT EXISTS (SELECT FROM segments AS s WHERE s.segment_key = m.segment_key)
        OR NOT EXISTS (SELECT FROM profiles AS p WHERE p.workspace = m.workspace
            AND p.profile_id = m.person_id AND p.merged_into = ''))
"""
# Of whom a filter cannot be asked.
_PUT_OFF = """
UPDATE segment_members SET due_us = $3 + 3600000000
WHERE workspace = $1 AND person_id = $2 AND due_us <= $3
"""
# Turns wait for who is held here.
_LIMIT = "SET LOCAL statement_timeout = 3000"
# Of a segment that takes too long even of one person; who is being looked at is left alone.
_PUT_OFF_SEGMENTS = """
UPDATE segment_members AS m SET due_us = $2 + 600000000
FROM (SELECT workspace, person_id, segment_key FROM segment_members
    WHERE due_us <= $2 AND segment_key = ANY($1::bigint[]) FOR UPDATE SKIP LOCKED) AS due
WHERE m.workspace = due.workspace AND m.person_id = due.person_id
    AND m.segment_key = due.segment_key
"""
_NEXT = "SELECT due_us FROM segment_members WHERE due_us IS NOT NULL ORDER BY due_us LIMIT 1"


class Dues:
    """Works off what is due; any number of replicas may."""

    def __init__(self, database: Database, definitions: Definitions, *, batch: int = BATCH) -> None:
        """Take the pool, the definitions and how many rows make a batch."""
        self._database = database
        self._definitions = definitions
        self._batch = batch
        # After a failure fewer at a time, down to the one of whom something cannot be asked.
        self._limit = batch

    async def next_due(self) -> int | None:
        """Return when something is due next, in microseconds since the epoch."""
        async with self._database.connection() as db:
            due: int | None = await db.fetchval(_NEXT)
        return due

    async def step(self, now_us: int) -> int:
        """Look at a batch of who is due; return how many rows were."""
        people: list[PersonKey] = []
        keys: set[int] = set()
        try:
            looked = await self._look(now_us, people, keys)
        except (MeshError, driver.PostgresError) as error:
            if not is_its_own_fault(error):
                raise
            log.exception("dues_failed", people=len(people))
            if self._limit == 1:
                await self._put_off(people, now_us)
                if isinstance(error, MeshError):
                    # Too slow: those behind her, of other segments, must not wait for each.
                    await self._put_off_segments(keys, now_us)
            self._limit = max(1, self._limit // 8)
            return len(people)
        self._limit = min(self._batch, 2 * self._limit)
        done = looked or await self._drop(now_us)
        if people and not done:
            # Due for a segment that does not compile any more: nobody behind them must wait.
            await self._put_off(people, now_us)
        return done

    async def _look(self, now_us: int, people: list[PersonKey], keys: set[int]) -> int:
        """Look at those who are due, having said in `people` who, and in `keys` for what."""
        async with self._database.transaction() as db:
            edition = await self._definitions.current(db)
            held = await db.fetch(_HOLD, now_us, self._limit)
            people += sorted({(row[0], row[1]) for row in held})
            by_key = {
                (workspace, segment.segment_key): segment
                for workspace, those in edition.segments.items()
                for segment in those
            }
            rows = await db.fetch(_DUE, *columns(people, 2), now_us)
            looks = [
                Look((row[0], row[1]), by_key[row[0], row[2]])
                for row in rows
                if (row[0], row[2]) in by_key
            ]
            keys |= {one.segment.segment_key for one in looks}
            if looks:
                await db.execute(_LIMIT)
                await look(db, looks, edition, now_us, patient=True)
        return len(looks)

    async def _put_off(self, people: list[PersonKey], now_us: int) -> None:
        async with self._database.transaction() as db:
            for person in people:
                await db.execute(_PUT_OFF, *person, now_us)

    async def _put_off_segments(self, keys: set[int], now_us: int) -> None:
        async with self._database.transaction() as db:
            await db.execute(_PUT_OFF_SEGMENTS, sorted(keys), now_us)

    async def _drop(self, now_us: int) -> int:
        async with self._database.transaction() as db:
            status = await db.execute(_DROP, now_us, self._batch)
        return int(status.rpartition(" ")[2])
