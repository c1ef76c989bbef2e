"""Letting go of what was kept for long enough; of history by weeks, as files, not as rows."""

from datetime import UTC, datetime, timedelta

import structlog

from mesh import replies
from mesh.postgres import Connection, Database

log = structlog.get_logger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Of this schema's advisory locks: one keeper at a time lets go.
_ONE_KEEPER = 0x7765_656B

# Also what an earlier keeper was interrupted at: half detached, or detached and not dropped.
_OLD = """
SELECT c.relname::text, i.inhrelid IS NOT NULL AS attached,
    coalesce(i.inhdetachpending, false) AS pending
FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
    AND c.relname ~ '^history_[0-9]{8}$' AND c.relname < $1
ORDER BY 1
"""
# Whose they are changes when people are united, and with it the key.
_FORGET_TRANSFERS = """
DELETE FROM device_transfers WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM device_transfers WHERE transfer_time < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


class Retention:
    """Drops what was kept for long enough."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def drop_weeks(self, *, before: int) -> list[str]:
        """Drop the partitions of the weeks before this one, counted from the epoch; return them.

        Nobody on the path waits: only those wait for whom we would have to. Where another keeper
        is at it nothing is done.

        Raises:
            Unavailable: Someone has been reading for long. What was begun is ended by the
                next call.
        """
        async with self._database.connection() as db:
            if not await db.fetchval("SELECT pg_try_advisory_lock($1)", _ONE_KEEPER):
                return []
            try:
                rows = await db.fetch(_OLD, week_table(before))
                for table, attached, pending in rows:
                    await _drop(db, table, attached=attached, pending=pending)
            finally:
                await db.execute("SELECT pg_advisory_unlock($1)", _ONE_KEEPER)
        return [row[0] for row in rows]

    async def forget_transfers(self, before: datetime, *, limit: int) -> int:
        """Delete how devices changed hands before then, at most `limit` rows; return how many."""
        async with self._database.connection() as db:
            status = await db.execute(_FORGET_TRANSFERS, before, limit)
        return int(status.rpartition(" ")[2])

    async def forget_replies(self, *, limit: int = 10_000) -> int:
        """Delete remembered answers to requests, a day old, at most `limit`; return how many."""
        async with self._database.connection() as db:
            return await replies.forget(db, limit=limit)


def week_table(week: int) -> str:
    """Return the name of the partition of a week, counted from the epoch."""
    return f"history_{_EPOCH + timedelta(weeks=week):%Y%m%d}"


async def _drop(db: Connection, table: str, *, attached: bool, pending: bool) -> None:
    # Plain DETACH, and DROP of a partition, stop every reader and writer of the whole history
    # while they wait for those that run. CONCURRENTLY lets new ones pass; it cannot be part of
    # a transaction, and when its wait is cut short it must be finalized.
    if pending:
        await db.execute(f"ALTER TABLE history DETACH PARTITION {table} FINALIZE")
    elif attached:
        await db.execute(f"ALTER TABLE history DETACH PARTITION {table} CONCURRENTLY")
    await db.execute(f"DROP TABLE {table}")
    log.info("history_dropped", partition=table)
