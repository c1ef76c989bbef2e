"""People whose traits time alone has changed: found by an index, never by looking at everybody."""

from mesh.clock import Clock
from mesh.postgres import Connection, Database
from services.profile.convert.moments import micros
from services.profile.model.people import PersonKey
from services.profile.store.definitions import Definitions
from services.profile.store.rows import columns
from services.profile.store.traits.advancing import refresh
from services.profile.store.traits.settling import settle

_DUE = """
SELECT workspace, person_id FROM trait_dues WHERE due_us <= $1
ORDER BY due_us LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# Who is busy is left for the next time: a turn that holds a person may want what we hold.
_HOLD = """
SELECT p.workspace, p.profile_id, p.time_zone
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id) WHERE p.merged_into = ''
ORDER BY p.workspace, p.profile_id FOR NO KEY UPDATE OF p SKIP LOCKED
"""
_FORGET = """
DELETE FROM trait_dues AS d USING unnest($1::text[], $2::text[]) AS w (workspace, person_id)
WHERE d.workspace = w.workspace AND d.person_id = w.person_id AND NOT EXISTS (
    SELECT FROM profiles AS p
    WHERE p.workspace = w.workspace AND p.profile_id = w.person_id AND p.merged_into = '')
"""


class TraitDues:
    """Looks at the people who are due."""

    def __init__(self, database: Database, definitions: Definitions, clock: Clock) -> None:
        """Take the pool, the definitions and the clock."""
        self._database = database
        self._definitions = definitions
        self._clock = clock

    async def run_once(self, *, limit: int) -> int:
        """Look at those who are due, at most `limit`; return how many were looked at."""
        now = self._clock.now()
        now_us = micros(now)
        async with self._database.transaction() as db:
            edition = await self._definitions.current(db)
            due = [(row[0], row[1]) for row in await db.fetch(_DUE, now_us, limit)]
            if not due:
                return 0
            zones = await _hold(db, due)
            if len(zones) < len(due):
                await db.execute(_FORGET, *columns(due, 2))
            await settle(db, edition, await refresh(db, edition, zones, now_us), now, now_us)
        return len(zones)


async def _hold(db: Connection, people: list[PersonKey]) -> dict[PersonKey, str]:
    rows = await db.fetch(_HOLD, *columns(people, 2))
    return {(row[0], row[1]): row[2] for row in rows}
