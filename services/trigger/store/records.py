"""The record of decisions: passages and refusals, read together."""

from datetime import datetime
from uuid import UUID

import asyncpg

from mesh.postgres import Database
from services.trigger.model import DecisionRow, Gate
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
                " SELECT d.*, n.item_count, i.removed, i.remove_time FROM (SELECT * FROM ("
                "SELECT profile, member, campaign, event_uid, event_id, state, gates, decide_time,"
                " due_time, wake_time, campaign_version, channel, trace_id, variant,"
                " digest_key FROM enrollments WHERE workspace = $1"
                " AND profile = (SELECT id FROM person)"
                " UNION ALL "
                "SELECT profile, member, campaign, event_uid, event_id, NULL, gates, decide_time,"
                " NULL, NULL, campaign_version, 0, trace_id, '', NULL FROM decisions"
                " WHERE workspace = $1 AND profile = (SELECT id FROM person)"
                ") AS e WHERE ($3 = '' OR campaign = $3)"
                # What was gathered is on record in its window.
                " AND ($4 = '' OR event_id = $4 OR (digest_key IS NOT NULL AND EXISTS"
                " (SELECT 1 FROM digest_items AS i WHERE i.workspace = $1"
                " AND i.profile = e.profile AND i.campaign = e.campaign"
                " AND i.window_uid = e.event_uid AND i.event_id = $4)))"
                " AND ($5::timestamptz IS NULL"
                " OR (decide_time, campaign, event_uid) < ($5, $6::text, $7::uuid))"
                " ORDER BY decide_time DESC, campaign DESC, event_uid DESC LIMIT $8) AS d"
                " LEFT JOIN digest_items AS i ON d.digest_key IS NOT NULL AND i.workspace = $1"
                " AND i.profile = d.profile AND i.campaign = d.campaign"
                " AND i.window_uid = d.event_uid AND i.event_id = $4"
                " LEFT JOIN LATERAL (SELECT count(*) AS item_count FROM digest_items AS c"
                " WHERE d.digest_key IS NOT NULL AND c.workspace = $1 AND c.profile = d.profile"
                " AND c.campaign = d.campaign AND c.window_uid = d.event_uid"
                " AND c.removed = '') AS n ON true"
                " ORDER BY d.decide_time DESC, d.campaign DESC, d.event_uid DESC",
                workspace,
                profile,
                campaign,
                event_id,
                *(before or (None, None, None)),
                limit,
            )
        return [_decision(row) for row in rows]


def _decision(row: asyncpg.Record) -> DecisionRow:
    columns = dict(row)
    gates = read_gates(columns.pop("gates"))
    removed, at = columns.pop("removed"), columns.pop("remove_time")
    del columns["digest_key"]
    if removed:
        # The event that was asked about was taken out of the window in which it is found.
        gates = (*gates, Gate("digest", passed=False, detail=removed, time=at))
    return DecisionRow(**columns, gates=gates)
