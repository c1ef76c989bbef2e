"""The record of decisions: passages and refusals, read together."""

from datetime import datetime
from uuid import UUID

from mesh.postgres import Database
from services.trigger.model import DecisionRow
from services.trigger.store.rows import read_gates


class RecordStore:
    """Reads decisions."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def page(
        self,
        workspace: str,
        profile: str,
        *,
        campaign: str,
        event_id: str,
        before: tuple[datetime, str, UUID] | None,
        limit: int,
    ) -> list[DecisionRow]:
        """Return decisions about a person, by any id, newest first; a filter of '' asks for all."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "WITH person AS (SELECT coalesce((SELECT profile FROM identities"
                " WHERE workspace = $1 AND member = $2), $2) AS id)"
                " SELECT * FROM ("
                "SELECT profile, member, campaign, event_uid, event_id, state, gates, decide_time,"
                " due_time, wake_time, campaign_version, channel, trace_id, variant"
                " FROM enrollments WHERE workspace = $1 AND profile = (SELECT id FROM person)"
                " UNION ALL "
                "SELECT profile, member, campaign, event_uid, event_id, NULL, gates, decide_time,"
                " NULL, NULL, campaign_version, 0, trace_id, '' FROM decisions"
                " WHERE workspace = $1 AND profile = (SELECT id FROM person)"
                ") AS d WHERE ($3 = '' OR campaign = $3) AND ($4 = '' OR event_id = $4)"
                " AND ($5::timestamptz IS NULL"
                " OR (decide_time, campaign, event_uid) < ($5, $6::text, $7::uuid))"
                " ORDER BY decide_time DESC, campaign DESC, event_uid DESC LIMIT $8",
                workspace,
                profile,
                campaign,
                event_id,
                *(before or (None, None, None)),
                limit,
            )
        return [DecisionRow(**{**dict(row), "gates": read_gates(row["gates"])}) for row in rows]
