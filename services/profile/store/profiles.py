"""Profiles one by one and page by page, and what each person did."""

from collections.abc import Callable, Collection
from datetime import datetime
from uuid import UUID

import asyncpg
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.profile.model import Facts, HistoryEntry, Known, PersonKey
from services.profile.store.rows import KNOWN_COLUMNS, columns, known_of

_GET = f"""
SELECT {KNOWN_COLUMNS} FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""  # noqa: S608 — put together from constants
_LOCKED = f"""
SELECT {KNOWN_COLUMNS} FROM profiles AS p WHERE workspace = $1 AND profile_id = $2
FOR NO KEY UPDATE
"""  # noqa: S608 — put together from constants
_LIST = f"""
SELECT {KNOWN_COLUMNS} FROM profiles AS p WHERE workspace = $1 AND profile_id > $2
ORDER BY profile_id LIMIT $3
"""  # noqa: S608 — put together from constants
_CREATE = f"""
INSERT INTO profiles AS p (workspace, profile_id, email, phone, time_zone, locale, attributes,
    create_time, update_time, shard)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) ON CONFLICT DO NOTHING RETURNING {KNOWN_COLUMNS}
"""  # noqa: S608 — put together from constants
_REVISE = f"""
UPDATE profiles AS p SET version = version + 1, email = $3, phone = $4, time_zone = $5,
    locale = $6, attributes = $7, update_time = $8
WHERE workspace = $1 AND profile_id = $2 RETURNING {KNOWN_COLUMNS}
"""  # noqa: S608 — put together from constants
# The first condition finds the weeks, the second the place within them.
_HISTORY = """
SELECT receive_us, log_index, event_uid, event_id, type, occur_us, properties
FROM history
WHERE workspace = $1 AND profile_id = $2 AND ($3 = '' OR type = $3)
    AND receive_us <= $4 AND (receive_us, log_index, event_uid) < ($4, $5, $6)
ORDER BY receive_us DESC, log_index DESC, event_uid DESC LIMIT $7
"""

# A person is created once; meeting its creation twice in a row takes a deletion in between.
_ATTEMPTS_MAX = 3

HistoryKey = tuple[int, int, UUID]
NEWEST: HistoryKey = (2**63 - 1, 2**31 - 1, UUID(int=2**128 - 1))


class Profiles:
    """Reads and changes single profiles."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def get(self, people: Collection[PersonKey]) -> dict[PersonKey, Known]:
        """Return those of the people who are known."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_GET, *columns(people, 2))
        return {known.key: known for known in map(known_of, rows)}

    async def list_after(self, workspace: str, profile_id: str, *, limit: int) -> list[Known]:
        """Return the next people of a workspace by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LIST, workspace, profile_id, limit)
        return [known_of(row) for row in rows]

    async def change(
        self, key: PersonKey, revise: Callable[[Known | None], Facts | Known], now: datetime
    ) -> Known:
        """Write what `revise` makes of a person, known or not; return the person as written.

        The person is held meanwhile. To leave all as it is, `revise` returns the person. It is
        asked anew when somebody else creates the person at the same time.

        Raises:
            Aborted: That happened again and again.
        """
        for _ in range(_ATTEMPTS_MAX):
            async with self._database.transaction() as connection:
                row = await connection.fetchrow(_LOCKED, *key)
                revised = revise(None if row is None else known_of(row))
                if isinstance(revised, Known):
                    return revised
                written = await _write(connection, key, revised, now, create=row is None)
                if written is not None:
                    return known_of(written)
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "other writers were faster")

    async def history(
        self, key: PersonKey, kind: str, *, before: HistoryKey, limit: int
    ) -> list[HistoryEntry]:
        """Return what a person did, newest first, of one type or ('') of all."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_HISTORY, *key, kind, *before, limit)
        return [HistoryEntry(*row) for row in rows]


async def _write(
    db: Connection, key: PersonKey, facts: Facts, now: datetime, *, create: bool
) -> asyncpg.Record | None:
    """Return the row as the database spells it; None when it was there against expectation."""
    values = (facts.email, facts.phone, facts.time_zone, facts.locale, facts.attributes, now)
    if create:
        return await db.fetchrow(_CREATE, *key, *values, shard_of(*key))
    return await db.fetchrow(_REVISE, *key, *values)
