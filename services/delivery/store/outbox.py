"""What throttle and ingest have yet to hear."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from mesh.postgres import Database
from services.delivery.model import Ending, News, Peer, State

_COLUMNS = (
    "outbox_id, peer, create_time, delivery_ids, rounds, states, channels, workspaces,"
    " profiles, campaigns"
)

_CLAIM = f"""
UPDATE outbox SET due_time = $2
WHERE outbox_id IN (
    SELECT outbox_id FROM outbox WHERE due_time <= $1
    ORDER BY due_time LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING {_COLUMNS}
"""  # noqa: S608 — names of ours


class Outbox:
    """The outbox."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def claim(self, now: datetime, until: datetime, limit: int) -> list[News]:
        """Return news that nobody relays; they are ours until `until`."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(_CLAIM, now, until, limit)
        return news(rows)

    async def done(self, outbox_ids: Sequence[int]) -> None:
        """Forget what was told."""
        async with self._db.connection() as connection:
            await connection.execute(
                "DELETE FROM outbox WHERE outbox_id = ANY($1::bigint[])", outbox_ids
            )

    async def postpone(self, outbox_ids: Sequence[int], until: datetime) -> None:
        """Leave what could not be told for later."""
        async with self._db.connection() as connection:
            await connection.execute(
                "UPDATE outbox SET due_time = $2 WHERE outbox_id = ANY($1::bigint[])",
                outbox_ids,
                until,
            )

    async def depth(self) -> tuple[int, datetime | None]:
        """Return how many batches wait, and when the oldest began to."""
        async with self._db.connection() as connection:
            row = await connection.fetchrow(
                "SELECT count(*) AS depth, min(create_time) AS oldest FROM outbox"
            )
        assert row is not None
        return int(row["depth"]), row["oldest"]


def news(rows: Iterable[Iterable[Any]]) -> list[News]:
    """Return rows of the outbox as values."""
    found = []
    for outbox_id, peer, time, *columns in rows:
        endings = [
            Ending(delivery_id, round_, State(state), channel, workspace, profile, campaign, time)
            for delivery_id, round_, state, channel, workspace, profile, campaign in zip(
                *columns, strict=True
            )
        ]
        found.append(News(outbox_id, Peer(peer), endings))
    return found
