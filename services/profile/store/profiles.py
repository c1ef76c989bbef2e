"""Profiles one by one and page by page, and what each person did."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.clock import Clock
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
_CREATE = """
INSERT INTO profiles (workspace, profile_id, shard, email, phone, time_zone, locale, attributes,
    create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING
"""
_REVISE = """
UPDATE profiles SET version = version + 1, email = $3, phone = $4, time_zone = $5, locale = $6,
    attributes = $7, update_time = $8
WHERE workspace = $1 AND profile_id = $2
"""
# The first condition finds the days, the second the place within them.
_HISTORY = """
SELECT receive_us, log_index, event_uid, event_id, type, occur_us, properties
FROM history
WHERE workspace = $1 AND profile_id = $2 AND ($3 = '' OR type = $3)
    AND receive_us <= $4 AND (receive_us, log_index, event_uid) < ($4, $5, $6)
ORDER BY receive_us DESC, log_index DESC, event_uid DESC LIMIT $7
"""

HistoryKey = tuple[int, int, UUID]
NEWEST: HistoryKey = (2**63 - 1, 2**31 - 1, UUID(int=2**128 - 1))


class Change:
    """One person, held until the change is made."""

    def __init__(self, db: Connection, key: PersonKey, known: Known | None) -> None:
        """Use `Profiles.change` instead."""
        self._db = db
        self._key = key
        self.known = known

    async def write(self, facts: Facts, now: datetime) -> Known:
        """Write the facts, creating the person if need be; return the person as written.

        Raises:
            Aborted: Somebody else has created the person meanwhile.
        """
        key = self._key
        listed = (facts.email, facts.phone, facts.time_zone, facts.locale, facts.attributes)
        if self.known is not None:
            await self._db.execute(_REVISE, *key, *listed, now)
        elif await self._db.execute(_CREATE, *key, shard_of(*key), *listed, now) == "INSERT 0 0":
            raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
        # As the database spells it.
        row = await self._db.fetchrow(_LOCKED, *key)
        if row is None:
            raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
        return known_of(row)


class Profiles:
    """Reads and changes single profiles."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the pool and the clock."""
        self._database = database
        self._clock = clock

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

    @asynccontextmanager
    async def change(self, key: PersonKey) -> AsyncIterator[Change]:
        """Hold a person, known or not, until the block ends; then the change commits."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCKED, *key)
            yield Change(connection, key, None if row is None else known_of(row))

    async def history(
        self, key: PersonKey, kind: str, *, before: HistoryKey, limit: int
    ) -> list[HistoryEntry]:
        """Return what a person did, newest first, of one type or ('') of all."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_HISTORY, *key, kind, *before, limit)
        return [HistoryEntry(*row) for row in rows]
