"""Who holds which partition of the log, and how far each is judged."""

from collections.abc import Collection
from datetime import datetime

from mesh.postgres import Database


class PositionStore:
    """Leases of partitions. They save work; safety is in the commit of a turn."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def prepare(self, partitions: int) -> None:
        """Make a row for each partition that has none."""
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO log_positions (partition) SELECT generate_series(0, $1 - 1)"
                " ON CONFLICT DO NOTHING",
                partitions,
            )

    async def renew(
        self, worker: str, now: datetime, lease_until: datetime
    ) -> tuple[dict[int, str | None], int]:
        """Say that `worker` lives; return who holds each partition and how many workers live."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO workers VALUES ($1, $2)"
                " ON CONFLICT (worker) DO UPDATE SET lease_until = excluded.lease_until",
                worker,
                lease_until,
            )
            await connection.execute("DELETE FROM workers WHERE lease_until < $1", now)
            await connection.execute(
                "UPDATE log_positions SET lease_until = $2 WHERE owner = $1", worker, lease_until
            )
            workers = await connection.fetchval("SELECT count(*) FROM workers")
            rows = await connection.fetch(
                "SELECT partition, CASE WHEN lease_until >= $1 THEN owner END AS owner"
                " FROM log_positions ORDER BY partition",
                now,
            )
        return {row["partition"]: row["owner"] for row in rows}, workers

    async def take(
        self, worker: str, partitions: Collection[int], now: datetime, lease_until: datetime
    ) -> None:
        """Take those of the partitions that are still free."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE log_positions SET owner = $1, lease_until = $4"
                " WHERE partition = ANY($2::integer[]) AND (owner IS NULL OR lease_until < $3)",
                worker,
                list(partitions),
                now,
                lease_until,
            )

    async def release(self, worker: str, partitions: Collection[int] | None = None) -> None:
        """Give partitions back; all of them, and the worker's name, when none are named."""
        async with self._database.transaction() as connection:
            if partitions is None:
                await connection.execute("DELETE FROM workers WHERE worker = $1", worker)
                await connection.execute(
                    "UPDATE log_positions SET owner = NULL, lease_until = NULL WHERE owner = $1",
                    worker,
                )
            else:
                await connection.execute(
                    "UPDATE log_positions SET owner = NULL, lease_until = NULL"
                    " WHERE owner = $1 AND partition = ANY($2::integer[])",
                    worker,
                    list(partitions),
                )

    async def read(self, partitions: Collection[int] | None = None) -> dict[int, str]:
        """Return how far partitions are judged; all of them when none are named."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT partition, position FROM log_positions"
                " WHERE $1::integer[] IS NULL OR partition = ANY($1::integer[])",
                None if partitions is None else list(partitions),
            )
        return {row["partition"]: row["position"] for row in rows}
