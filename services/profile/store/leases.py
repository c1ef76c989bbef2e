"""Leases: of all replicas one does the work, and another when that one falls silent."""

from datetime import timedelta
from uuid import uuid4

from mesh.postgres import Database

# By the clock of the database, the one that all replicas share.
_TAKE = """
INSERT INTO leases (work, holder, until_time) VALUES ($1, $2, clock_timestamp() + $3)
ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, until_time = excluded.until_time
WHERE leases.holder = excluded.holder OR leases.until_time < clock_timestamp()
RETURNING true
"""
_RELEASE = "DELETE FROM leases WHERE work = $1 AND holder = $2"


class Lease:
    """The right to do one kind of work. It saves work; it is no proof against doing it twice."""

    def __init__(self, database: Database, work: str, *, span: timedelta) -> None:
        """Take the pool, the work and for how long it is had at a time."""
        self._database = database
        self._work = work
        self._span = span
        self._holder = uuid4()

    async def take(self) -> bool:
        """Take or keep it; False where another has it."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_TAKE, self._work, self._holder, self._span))

    async def release(self) -> None:
        """Let another have it at once."""
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, self._work, self._holder)
