"""Campaigns for which all who have a date are being gone through."""

from dataclasses import dataclass
from datetime import datetime

from mesh.postgres import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """One launch of a campaign, and how far its people are planned."""

    workspace: str
    campaign: str
    attribute: str
    revision: int
    begin_time: datetime
    cursor: str
    count: int


class BackfillStore:
    """Keeps what is to be gone through, and how far it is."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def begin(
        self,
        connection: Connection,
        workspace: str,
        campaign: str,
        attribute: str,
        *,
        revision: int,
        begin_time: datetime,
    ) -> None:
        """Have all who have the attribute gone through, from the first again."""
        await connection.execute(
            "INSERT INTO backfills (workspace, campaign, attribute, revision, begin_time,"
            " lease_until) VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (workspace, campaign)"
            " DO UPDATE SET attribute = excluded.attribute, revision = excluded.revision,"
            " begin_time = excluded.begin_time, lease_until = excluded.lease_until,"
            " cursor = '', count = 0, error = ''",
            workspace,
            campaign,
            attribute,
            revision,
            begin_time,
        )

    async def claim(self, now: datetime, *, lease_until: datetime) -> Backfill | None:
        """Take over the one that nobody works on for the longest time."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE backfills SET lease_until = $2 WHERE (workspace, campaign) IN ("
                "SELECT workspace, campaign FROM backfills WHERE lease_until <= $1"
                " AND begin_time <= $1 ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED)"
                " RETURNING workspace, campaign, attribute, revision, begin_time, cursor, count",
                now,
                lease_until,
            )
        return None if row is None else Backfill(**dict(row))

    async def move(
        self,
        connection: Connection,
        backfill: Backfill,
        *,
        cursor: str,
        count: int,
        lease_until: datetime,
    ) -> bool:
        """Write how far it is, in the transaction of those passages; False: it is begun anew."""
        status = await connection.execute(
            "UPDATE backfills SET cursor = $5, count = $6, lease_until = $7, error = ''"
            " WHERE workspace = $1 AND campaign = $2 AND revision = $3 AND cursor = $4",
            backfill.workspace,
            backfill.campaign,
            backfill.revision,
            backfill.cursor,
            cursor,
            count,
            lease_until,
        )
        return bool(status.endswith("1"))

    async def fail(self, backfill: Backfill, error: str, *, until: datetime) -> None:
        """Note why it does not get on, and let it rest."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE backfills SET error = $4, lease_until = $5"
                " WHERE workspace = $1 AND campaign = $2 AND revision = $3",
                backfill.workspace,
                backfill.campaign,
                backfill.revision,
                error,
                until,
            )

    async def end(self, backfill: Backfill) -> None:
        """Forget what is done, or not wanted any more."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM backfills WHERE workspace = $1 AND campaign = $2 AND revision = $3"
                " AND cursor = $4",
                backfill.workspace,
                backfill.campaign,
                backfill.revision,
                backfill.cursor,
            )
