"""Events that profile owes to the log: written with what they tell of, relayed until taken."""

from collections.abc import Sequence

from mesh.postgres import Connection, Database
from services.profile.model.changes import DerivedEvent
from services.profile.store.rows import columns

_OWE = """
INSERT INTO derived_events (workspace, profile_id, event_id, type, occur_us, properties)
SELECT workspace, profile_id, event_id, type, occur_us, properties
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::jsonb[])
    WITH ORDINALITY AS w (workspace, profile_id, event_id, type, occur_us, properties, place)
ORDER BY place
"""
_OLDEST = """
SELECT derived_id, workspace, profile_id, event_id, type, occur_us, properties
FROM derived_events ORDER BY derived_id LIMIT $1
"""
_SETTLE = "DELETE FROM derived_events WHERE derived_id = ANY($1::bigint[])"


async def owe(db: Connection, events: Sequence[DerivedEvent]) -> None:
    """Write, in the transaction of what happened, the events that tell of it, in this order."""
    if events:
        await db.execute(_OWE, *columns(events, 6))


class DerivedEvents:
    """What is owed, oldest first."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def oldest(self, limit: int) -> list[tuple[int, DerivedEvent]]:
        """Return the oldest events owed, each with its number."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OLDEST, limit)
        return [(row[0], DerivedEvent(*row[1:])) for row in rows]

    async def settle(self, derived_ids: Sequence[int]) -> None:
        """Strike out what the log has taken."""
        async with self._database.connection() as connection:
            await connection.execute(_SETTLE, derived_ids)
