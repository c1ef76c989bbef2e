"""Events that could not be observed or judged."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from mesh.postgres import Database
from services.trigger.model import QuarantineRow


class QuarantineStore:
    """Lists what is quarantined and marks it to be tried again."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def page(
        self, workspace: str, after: tuple[datetime, UUID] | None, *, limit: int
    ) -> list[QuarantineRow]:
        """Return quarantined events of a workspace, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM quarantine WHERE workspace = $1"
                " AND ($2::timestamptz IS NULL OR (create_time, id) > ($2, $3::uuid))"
                " ORDER BY create_time, id LIMIT $4",
                workspace,
                *(after or (None, None)),
                limit,
            )
        return [_row(row) for row in rows]

    async def mark(
        self, workspace: str, ids: Sequence[UUID], now: datetime
    ) -> tuple[int, Collection[UUID]]:
        """Mark events to be replayed, all or none; return how many, or which are unknown."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT id FROM quarantine WHERE workspace = $1 AND id = ANY($2::uuid[])"
                " ORDER BY id FOR UPDATE",
                workspace,
                list(ids),
            )
            unknown = set(ids) - {row["id"] for row in rows}
            if unknown:
                return 0, unknown
            await connection.execute(
                "UPDATE quarantine SET replay_time = coalesce(replay_time, $2)"
                " WHERE id = ANY($1::uuid[])",
                list(ids),
                now,
            )
        return len(rows), ()

    async def marked(self, partitions: Collection[int], *, limit: int) -> list[QuarantineRow]:
        """Return events of the partitions that are to be replayed."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM quarantine WHERE replay_time IS NOT NULL"
                " AND partition = ANY($1::integer[]) ORDER BY create_time, id LIMIT $2",
                list(partitions),
                limit,
            )
        return [_row(row) for row in rows]

    async def remove(self, ids: Sequence[UUID]) -> None:
        """Forget events that went back into the log."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM quarantine WHERE id = ANY($1::uuid[])", list(ids))

    async def count(self) -> int:
        """Return how many events are quarantined."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval("SELECT count(*) FROM quarantine")
        return found


def _row(row: asyncpg.Record) -> QuarantineRow:
    return QuarantineRow(**dict(row))
