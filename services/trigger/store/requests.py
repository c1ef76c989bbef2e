"""What callers asked for by id."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mesh.postgres import Connection, Database


class RequestClash(Exception):
    """Somebody has used an id for something else meanwhile."""


class RequestStore:
    """Remembers ids, and what they stood for."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def known(self, workspace: str, event_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the fingerprints of those of the ids that were used before."""
        async with self._database.connection() as connection:
            return await _known(connection, workspace, event_ids)

    async def forget(self, before: datetime, *, limit: int) -> int:
        """Forget ids that were used `before`, at most so many; return how many."""
        async with self._database.connection() as connection:
            status = await connection.execute(
                "DELETE FROM requests WHERE ctid = ANY(ARRAY(SELECT ctid FROM requests"
                " WHERE create_time < $1 LIMIT $2))",
                before,
                limit,
            )
        return int(status.split()[-1])


async def remember(
    connection: Connection, workspace: str, asked: Mapping[str, bytes], now: datetime
) -> None:
    """Remember ids with what begins by them, in the same transaction.

    Raises:
        RequestClash: One of them stands for something else.
    """
    ids = sorted(asked)
    await connection.execute(
        "INSERT INTO requests (workspace, event_id, fingerprint, create_time)"
        " SELECT $1, event_id, fingerprint, $4"
        " FROM unnest($2::text[], $3::bytea[]) AS a (event_id, fingerprint)"
        " ON CONFLICT DO NOTHING",
        workspace,
        ids,
        [asked[one] for one in ids],
        now,
    )
    if await _known(connection, workspace, ids) != dict(asked):
        raise RequestClash


async def _known(
    connection: Connection, workspace: str, event_ids: Sequence[str]
) -> dict[str, bytes]:
    rows = await connection.fetch(
        "SELECT event_id, fingerprint FROM requests"
        " WHERE workspace = $1 AND event_id = ANY($2::text[])",
        workspace,
        list(event_ids),
    )
    return {row["event_id"]: row["fingerprint"] for row in rows}
