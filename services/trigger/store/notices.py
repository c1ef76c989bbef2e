"""What other services are to hear, kept until they have answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.trigger.model import Erasure, Notice, NoticeKind

Owed: TypeAlias = tuple[Notice, datetime]
"""A notice, and when it is to go out first."""


class NoticeStore:
    """Hands out what is due, to one worker at a time."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def claim(self, now: datetime, *, lease_until: datetime, limit: int) -> list[Notice]:
        """Return what is due; nobody else is given it until the lease has run out."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "UPDATE notices SET due_time = $2, attempts = attempts + 1 WHERE notice IN ("
                "SELECT notice FROM notices WHERE due_time <= $1 ORDER BY due_time LIMIT $3"
                " FOR UPDATE SKIP LOCKED) RETURNING notice, kind, payload, attempts",
                now,
                lease_until,
                limit,
            )
        return [
            Notice(row["notice"], NoticeKind(row["kind"]), row["payload"], row["attempts"])
            for row in rows
        ]

    async def settle(self, notice: Notice, owed: Sequence[Owed] = ()) -> None:
        """Forget a notice that was answered, and owe what follows from the answer.

        Unless another worker has taken it up since.
        """
        async with self._database.transaction() as connection:
            status = await connection.execute(
                "DELETE FROM notices WHERE notice = $1 AND attempts = $2",
                notice.id,
                notice.attempts,
            )
            if status.endswith("1"):
                await insert_notices(connection, owed)

    async def put_off(self, notice: Notice, until: datetime) -> None:
        """Try a notice again later."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE notices SET due_time = $3 WHERE notice = $1 AND attempts = $2",
                notice.id,
                notice.attempts,
                until,
            )

    async def count(self) -> int:
        """Return how many are owed."""
        async with self._database.connection() as connection:
            found: int = await connection.fetchval("SELECT count(*) FROM notices")
        return found


async def forget_identities(connection: Connection, erasure: Erasure) -> int:
    """Let nobody hear any more who people were that are erased; return how many would have."""
    status = await connection.execute(
        "DELETE FROM notices WHERE kind = $1"
        " AND convert_from(payload, 'UTF8')::jsonb ->> 'profile' = ANY($2::text[])",
        NoticeKind.IDENTITY.value,
        [format_name(erasure.workspace, "profiles", one) for one in erasure.profiles],
    )
    return int(status.split()[-1])


async def insert_notices(connection: Connection, owed: Sequence[Owed]) -> None:
    """Owe notices; one that is owed already stays as it is."""
    await connection.executemany(
        "INSERT INTO notices (notice, kind, payload, due_time) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT DO NOTHING",
        [(notice.id, notice.kind.value, notice.payload, due) for notice, due in owed],
    )
