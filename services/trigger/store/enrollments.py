"""Timers and sends owed: passages that wait for a time or for a peer."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from mesh.postgres import Database
from services.trigger.model import Enrollment, EnrollmentState, Key
from services.trigger.store.rows import enrollment_of
from services.trigger.store.turns import CatalogueChanged, update_open

_WAITING = int(EnrollmentState.WAITING)
_OWED = (int(EnrollmentState.SENDING), int(EnrollmentState.CANCELING))


class EnrollmentStore:
    """Finds passages whose time has come and writes what became of them."""

    def __init__(self, database: Database, *, partitions: int) -> None:
        """Keep everything in `database`; a person's partition is the shard modulo `partitions`."""
        self._database = database
        self._partitions = partitions

    async def due(self, until: Mapping[int, datetime], *, limit: int) -> list[Enrollment]:
        """Return waiting passages whose time came until that of their partition, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT * FROM enrollments WHERE state = {_WAITING} AND wake_time <= $1"
                # Null for partitions that nobody asked for.
                " AND wake_time <= ($2::timestamptz[])[shard % $3 + 1]"
                " ORDER BY wake_time LIMIT $4",
                max(until.values()),
                [until.get(partition) for partition in range(self._partitions)],
                self._partitions,
                limit,
            )
        return [enrollment_of(row) for row in rows]

    async def next_wake(self, partitions: Collection[int]) -> datetime | None:
        """Return when the next waiting passage of the partitions is due."""
        async with self._database.connection() as connection:
            found: datetime | None = await connection.fetchval(
                f"SELECT wake_time FROM enrollments WHERE state = {_WAITING}"
                " AND wake_time IS NOT NULL AND (shard % $1) = ANY($2::integer[])"
                " ORDER BY wake_time LIMIT 1",
                self._partitions,
                list(partitions),
            )
        return found

    async def settle(
        self,
        passages: Sequence[Enrollment],
        *,
        lease_until: datetime | None = None,
        catalogue_version: int | None = None,
    ) -> set[tuple[Key, UUID]]:
        """Write passages, but for those that somebody changed meanwhile; return which were.

        Raises:
            CatalogueChanged: There are newer campaigns than `catalogue_version`.
        """
        if not passages:
            return set()
        async with self._database.transaction() as connection:
            written = await update_open(connection, passages, lease_until)
            if catalogue_version is not None:
                current = await connection.fetchval("SELECT version FROM catalogue")
                if current != catalogue_version:
                    raise CatalogueChanged
            return written

    async def claim(
        self,
        now: datetime,
        *,
        lease_until: datetime,
        limit: int,
        held: Sequence[UUID] = (),
    ) -> list[Enrollment]:
        """Take over sends and cancellations whose lease has run out, but for those of `held`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "UPDATE enrollments SET lease_until = $2, revision = revision + 1"
                " WHERE (workspace, profile, campaign, event_uid) IN ("
                "SELECT workspace, profile, campaign, event_uid FROM enrollments"
                f" WHERE state IN ({_OWED[0]}, {_OWED[1]}) AND lease_until <= $1"
                " AND NOT event_uid = ANY($4::uuid[])"
                " ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING *",
                now,
                lease_until,
                limit,
                list(held),
            )
        return [enrollment_of(row) for row in rows]

    async def owed(self) -> tuple[int, datetime | None]:
        """Return how many sends and cancellations are owed, and since when the oldest is."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT count(*) AS count, min(release_time) AS oldest FROM enrollments"
                f" WHERE state IN ({_OWED[0]}, {_OWED[1]})"
            )
        assert row is not None
        return row["count"], row["oldest"]

    async def wake(self, campaigns: Sequence[tuple[str, str]], now: datetime) -> int:
        """Let those go on who wait in paused campaigns, except in `campaigns`, which still are."""
        async with self._database.connection() as connection:
            status = await connection.execute(
                "UPDATE enrollments SET wake_time = greatest(due_time, $3), revision = revision + 1"
                f" WHERE state = {_WAITING} AND wake_time IS NULL AND NOT EXISTS (SELECT 1 FROM"
                " unnest($1::text[], $2::text[]) AS p(workspace, campaign)"
                " WHERE p.workspace = enrollments.workspace"
                " AND p.campaign = enrollments.campaign)",
                [workspace for workspace, _ in campaigns],
                [campaign for _, campaign in campaigns],
                now,
            )
        return int(status.split()[-1])

    async def wake_campaign(
        self, workspace: str, campaign: str, now: datetime, *, all_of_them: bool
    ) -> int:
        """Let those go on who wait in a campaign: the held ones, or all of them at once."""
        async with self._database.connection() as connection:
            status = await connection.execute(
                "UPDATE enrollments SET wake_time = CASE WHEN $4 THEN $3"
                " ELSE greatest(due_time, $3) END, revision = revision + 1"
                f" WHERE workspace = $1 AND campaign = $2 AND state = {_WAITING}"
                " AND (wake_time IS NULL OR ($4 AND wake_time > $3))",
                workspace,
                campaign,
                now,
                all_of_them,
            )
        return int(status.split()[-1])

    async def forget(self, before: datetime, *, limit: int) -> int:
        """Delete ended passages and refusals decided `before`, at most `limit` of each.

        Entries outlive them: re-entry looks back for ever.
        """
        ended = f"{int(EnrollmentState.SENT)}, {int(EnrollmentState.EXITED)}"
        async with self._database.connection() as connection:
            passages = await connection.fetchval(
                "WITH gone AS (DELETE FROM enrollments WHERE ctid = ANY(ARRAY(SELECT ctid"
                f" FROM enrollments WHERE decide_time < $1 AND state IN ({ended})"
                " AND expire_time < $1 LIMIT $2)) RETURNING workspace, profile, campaign,"
                " entry_time),"
                " kept AS (INSERT INTO entries SELECT workspace, profile, campaign, max(entry_time)"
                " FROM gone GROUP BY 1, 2, 3 ON CONFLICT (workspace, profile, campaign) DO UPDATE"
                " SET entry_time = greatest(entries.entry_time, excluded.entry_time))"
                " SELECT count(*) FROM gone",
                before,
                limit,
            )
            status = await connection.execute(
                "DELETE FROM decisions WHERE ctid = ANY(ARRAY(SELECT ctid FROM decisions"
                " WHERE decide_time < $1 LIMIT $2))",
                before,
                limit,
            )
        return int(passages) + int(status.split()[-1])
