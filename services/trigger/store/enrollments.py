"""Timers and sends owed: passages that wait for a time or for a peer."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from mesh.postgres import Database
from services.trigger.model import (
    CampaignState,
    DigestContent,
    Enrollment,
    EnrollmentState,
    Key,
    WindowSummary,
)
from services.trigger.store.digests import Name, forget_undos, load_contents, load_summaries
from services.trigger.store.rows import enrollment_of
from services.trigger.store.turns import CatalogueChanged, update_open

_WAITING = int(EnrollmentState.WAITING)
_OWED = (int(EnrollmentState.SENDING), int(EnrollmentState.CANCELING))
# A million may wait in one campaign, and a statement has ten seconds. So many take a tenth.
_WAKE_MAX = 1000


class EnrollmentStore:
    """Finds passages whose time has come and writes what became of them."""

    def __init__(self, database: Database, *, partitions: int, wake_max: int = _WAKE_MAX) -> None:
        """Keep everything in `database`; a person's partition is the shard modulo `partitions`."""
        self._database = database
        self._partitions = partitions
        self._wake_max = wake_max

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

    async def windows(self, passages: Collection[Enrollment]) -> dict[Name, WindowSummary]:
        """Return what is left in the windows among some passages."""
        if all(one.digest_key is None for one in passages):
            return {}
        async with self._database.connection() as connection:
            return await load_summaries(connection, passages)

    async def contents(self, windows: Mapping[Name, int]) -> dict[Name, DigestContent]:
        """Return what windows hold: all counted, of each the latest, at most so many."""
        if not windows:
            return {}
        async with self._database.connection() as connection:
            return await load_contents(connection, windows)

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

    async def held(self) -> list[tuple[str, str]]:
        """Return campaigns that go on, or are over, while passages are still held in them."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT workspace, campaign FROM campaigns AS c WHERE state <> $1 AND EXISTS"
                " (SELECT 1 FROM enrollments AS e WHERE e.workspace = c.workspace"
                f" AND e.campaign = c.campaign AND e.state = {_WAITING} AND e.wake_time IS NULL)",
                CampaignState.PAUSED.value,
            )
        return [(row["workspace"], row["campaign"]) for row in rows]

    async def wake_held(self, workspace: str, campaign: str, now: datetime) -> int:
        """Let those go on whom a campaign held while it was paused."""
        woken = 0
        while True:
            async with self._database.connection() as connection:
                status = await connection.execute(
                    "UPDATE enrollments SET wake_time = greatest(due_time, $3),"
                    " revision = revision + 1"
                    " WHERE (workspace, profile, campaign, event_uid) IN ("
                    "SELECT workspace, profile, campaign, event_uid FROM enrollments"
                    f" WHERE workspace = $1 AND campaign = $2 AND state = {_WAITING}"
                    " AND wake_time IS NULL LIMIT $4 FOR UPDATE SKIP LOCKED)",
                    workspace,
                    campaign,
                    now,
                    self._wake_max,
                )
            count = int(status.split()[-1])
            woken += count
            if count < self._wake_max:
                return woken

    async def wake_all(self, workspace: str, campaign: str, now: datetime) -> int:
        """Let those go on at once who wait in a campaign for a time to come."""
        woken, after = 0, now
        while True:
            async with self._database.connection() as connection:
                # Along the index, each batch from where the last one ended; what was woken is
                # behind it.
                row = await connection.fetchrow(
                    "WITH waiting AS (SELECT workspace, profile, campaign, event_uid, wake_time"
                    " FROM enrollments WHERE workspace = $1 AND campaign = $2"
                    f" AND state = {_WAITING} AND wake_time > $3 AND wake_time >= $4"
                    " ORDER BY wake_time LIMIT $5 FOR UPDATE SKIP LOCKED),"
                    " woken AS (UPDATE enrollments AS e SET wake_time = $3,"
                    " revision = e.revision + 1 FROM waiting"
                    " WHERE e.workspace = waiting.workspace AND e.profile = waiting.profile"
                    " AND e.campaign = waiting.campaign AND e.event_uid = waiting.event_uid)"
                    " SELECT count(*) AS count, max(wake_time) AS latest FROM waiting",
                    workspace,
                    campaign,
                    now,
                    after,
                    self._wake_max,
                )
            assert row is not None
            count: int = row["count"]
            woken += count
            if count < self._wake_max:
                return woken
            after = row["latest"]

    async def forget_undos(self, before: datetime, *, limit: int) -> int:
        """Delete what took events back that were received `before`; return how many."""
        async with self._database.connection() as connection:
            return await forget_undos(connection, before, limit=limit)

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
                " member, reentry_key, entry_time, dwelling, digest_key),"
                " kept AS (INSERT INTO entries (workspace, profile, campaign, member,"
                " reentry_key, entry_time)"
                " SELECT workspace, profile, campaign, member, reentry_key, max(entry_time)"
                " FROM gone WHERE NOT dwelling AND digest_key IS NULL GROUP BY 1, 2, 3, 4, 5"
                " ON CONFLICT (workspace, profile, campaign, member, reentry_key) DO UPDATE"
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
