"""Sets what others want to hear of people."""

from collections.abc import Collection, Sequence
from datetime import datetime

from mesh.postgres import Connection, Database
from services.profile.model.memberships import SegmentState
from services.profile.model.watches import CONDITION, Condition
from services.profile.store.definitions import announce
from services.profile.store.segments.definitions import try_filter

# The order in which whoever declares takes these locks.
_HOLD = """
SELECT version FROM catalogues WHERE kind IN ('segments', 'traits', 'watches')
ORDER BY kind FOR NO KEY UPDATE
"""
_KNOWN = "SELECT version, attributes FROM watches WHERE workspace = $1"
_SET = """
INSERT INTO watches (workspace, version, attributes) VALUES ($1, $2, $3)
ON CONFLICT (workspace) DO UPDATE SET version = excluded.version, attributes = excluded.attributes
"""
_CONDITIONS = """
SELECT segment_id, segment_key, filter FROM segments
WHERE workspace = $1 AND starts_with(segment_id, $2)
"""
_CREATE = """
INSERT INTO segments (workspace, segment_id, filter, description, state, create_time, update_time)
VALUES ($1, $2, $3, '', $4, $5, $5)
"""
_DELETE = "DELETE FROM segments WHERE segment_key = $1"
_REMOVE = "INSERT INTO segment_removals (segment_key, workspace) VALUES ($1, $2)"
_BUILDING = """
SELECT count(*) FROM segments WHERE workspace = $1 AND starts_with(segment_id, $2) AND state = $3
"""


class Watching:
    """Keeps, by workspace, what is watched."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def set(
        self,
        workspace: str,
        version: int,
        attributes: Collection[str],
        conditions: Sequence[Condition],
        now: datetime,
    ) -> int:
        """Watch this and nothing else, unless something newer is watched; return what is in force.

        Every write that begins after it is committed tells of what it changes.
        """
        async with self._database.transaction() as db:
            await db.execute(_HOLD)
            known = await db.fetchrow(_KNOWN, workspace)
            if known is not None and known["version"] > version:
                in_force: int = known["version"]
                return in_force
            wanted = sorted(set(attributes))
            await db.execute(_SET, workspace, version, wanted)
            if wanted != (known["attributes"] if known is not None else []):
                await announce(db, "watches")
            if await _set_conditions(db, workspace, conditions, now):
                await announce(db, "segments")
        return version

    async def building(self, workspace: str) -> int:
        """Return how many conditions have not looked at everybody yet."""
        async with self._database.connection() as db:
            count: int = await db.fetchval(
                _BUILDING, workspace, CONDITION, int(SegmentState.BUILDING)
            )
        return count


async def _set_conditions(
    db: Connection, workspace: str, conditions: Sequence[Condition], now: datetime
) -> bool:
    """Begin and end conditions; return whether there was anything to do."""
    rows = await db.fetch(_CONDITIONS, workspace, CONDITION)
    known = {(row["segment_id"], row["filter"]): row["segment_key"] for row in rows}
    wanted = {(one.segment_id, one.filter) for one in conditions}
    for name in known.keys() - wanted:
        await db.execute(_DELETE, known[name])
        await db.execute(_REMOVE, known[name], workspace)
    for segment_id, filter_ in sorted(wanted - known.keys()):
        await try_filter(db, workspace, filter_)
        await db.execute(_CREATE, workspace, segment_id, filter_, int(SegmentState.BUILDING), now)
    return known.keys() != wanted
