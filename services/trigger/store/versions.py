"""What campaigns were, how they moved, and who is on the way through them."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection
from datetime import datetime
from typing import Any

from mesh.postgres import Connection, Database
from services.trigger.model import Crowd, EnrollmentState, InFlight, Move, StoredVersion

_WAITING, _SENDING = int(EnrollmentState.WAITING), int(EnrollmentState.SENDING)
_SENT, _CANCELING = int(EnrollmentState.SENT), int(EnrollmentState.CANCELING)
_VERSION = "workspace, campaign, version, spec, create_time, in_flight, caller"
# Nobody waits for the locks of so few for long.
_SEND_OUT_MAX = 5000

_EARLIER = (
    "SELECT v.workspace, v.campaign, v.version, v.spec, v.create_time, v.in_flight, v.caller"
    " FROM campaigns AS c JOIN campaign_versions AS v USING (workspace, campaign)"
    " WHERE c.state = ANY($1::text[]) AND v.in_use AND v.version < c.version"
    " AND v.version >= greatest(c.migrate_version, c.exit_version)"
)

# As passages of a campaign are indexed.
_CAMPAIGN = "workspace || '/' || campaign = $1::text || '/' || $2::text"
_WITH_EARLIER = (
    "SELECT DISTINCT workspace, campaign FROM campaigns AS c"
    " JOIN campaign_versions AS v USING (workspace, campaign)"
    " WHERE v.in_use AND v.version < c.version"
)
_DROP = (
    "UPDATE campaign_versions AS v SET in_use = false FROM campaigns AS c"
    " WHERE c.workspace = $2 AND c.campaign = $3 AND v.workspace = $2 AND v.campaign = $3"
    " AND v.in_use AND v.version < c.version"
    " AND (v.version < greatest(c.migrate_version, c.exit_version) OR v.version <> ALL(ARRAY("
    "SELECT DISTINCT greatest(e.campaign_version, m.migrate_version)"
    " FROM campaigns AS m JOIN enrollments AS e USING (workspace, campaign)"
    " WHERE m.workspace = $2 AND m.campaign = $3"
    " AND e.workspace || '/' || e.campaign = $2::text || '/' || $3::text"
    f" AND (e.state IN ({_WAITING}, {_SENDING}, {_CANCELING})"
    f" OR (e.state = {_SENT} AND e.expire_time > $1)))))"
)


async def keep_version(connection: Connection, version: StoredVersion) -> None:
    """Keep what a campaign is from now on, in the transaction that makes it so."""
    await connection.execute(
        f"INSERT INTO campaign_versions ({_VERSION}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        version.workspace,
        version.campaign,
        version.version,
        version.spec,
        version.create_time,
        version.in_flight.value,
        version.caller,
    )


async def keep_move(connection: Connection, workspace: str, campaign: str, move: Move) -> None:
    """Keep that a campaign moved, in the transaction in which it does."""
    await connection.execute(
        "INSERT INTO campaign_moves (workspace, campaign, time, state, caller)"
        " VALUES ($1, $2, $3, $4, $5)",
        workspace,
        campaign,
        move.time,
        move.state,
        move.caller,
    )


async def earlier_versions(connection: Connection, states: Collection[str]) -> list[StoredVersion]:
    """Return the earlier versions of campaigns in `states` by which somebody may still go."""
    return [_version(row) for row in await connection.fetch(_EARLIER, list(states))]


class VersionStore:
    """Reads what was kept, and counts who is on the way."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def get(self, workspace: str, campaign: str, version: int) -> StoredVersion | None:
        """Return a version."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_VERSION} FROM campaign_versions"
                " WHERE workspace = $1 AND campaign = $2 AND version = $3",
                workspace,
                campaign,
                version,
            )
        return None if row is None else _version(row)

    async def page(
        self, workspace: str, campaign: str, *, before: int | None, limit: int
    ) -> list[StoredVersion]:
        """Return versions, newest first, those `before` a number."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_VERSION} FROM campaign_versions WHERE workspace = $1 AND campaign = $2"
                " AND ($3::bigint IS NULL OR version < $3) ORDER BY version DESC LIMIT $4",
                workspace,
                campaign,
                before,
                limit,
            )
        return [_version(row) for row in rows]

    async def at(self, workspace: str, campaign: str, moment: datetime) -> StoredVersion | None:
        """Return what a campaign was at a moment; None: it was not there, or not kept."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_VERSION} FROM campaign_versions WHERE workspace = $1 AND campaign = $2"
                " AND create_time <= $3 ORDER BY version DESC LIMIT 1",
                workspace,
                campaign,
                moment,
            )
        return None if row is None else _version(row)

    async def moves(self, workspace: str, campaign: str) -> list[Move]:
        """Return how a campaign moved, in the order of time."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT time, state, caller FROM campaign_moves"
                " WHERE workspace = $1 AND campaign = $2 ORDER BY time",
                workspace,
                campaign,
            )
        return [Move(**dict(row)) for row in rows]

    async def traffic(self, workspace: str, campaign: str) -> list[Crowd]:
        """Return who waits or is sent, by the version that judged last."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT campaign_version AS version,"
                f" count(*) FILTER (WHERE state = {_WAITING}) AS waiting_count,"
                f" count(*) FILTER (WHERE state = {_SENDING}) AS sending_count,"
                f" min(due_time) FILTER (WHERE state = {_WAITING}) AS next_due_time"
                f" FROM enrollments WHERE state IN ({_WAITING}, {_SENDING})"
                f" AND {_CAMPAIGN} GROUP BY 1",
                workspace,
                campaign,
            )
        return [Crowd(**dict(row)) for row in rows]

    async def send_out(self, workspace: str, campaign: str, version: int, now: datetime) -> int:
        """Wake those who waited when `version` sent all out; judged again, they leave."""
        woken = 0
        while True:
            async with self.database.connection() as connection:
                status = await connection.execute(
                    "UPDATE enrollments SET wake_time = $4, revision = revision + 1"
                    " WHERE (workspace, profile, campaign, event_uid) IN ("
                    "SELECT workspace, profile, campaign, event_uid FROM enrollments"
                    f" WHERE {_CAMPAIGN} AND state = {_WAITING}"
                    " AND campaign_version < $3 AND (wake_time IS NULL OR wake_time > $4)"
                    " LIMIT $5 FOR UPDATE SKIP LOCKED)",
                    workspace,
                    campaign,
                    version,
                    now,
                    _SEND_OUT_MAX,
                )
            count = int(status.split()[-1])
            woken += count
            if count < _SEND_OUT_MAX:
                return woken

    async def drop_unused(self, now: datetime) -> int:
        """Have workers hold no earlier versions any more by which nobody goes; return how many.

        Nobody comes to an earlier version but from one of its own passages, so that who is not
        there now never will be.
        """
        dropped = 0
        async with self.database.connection() as connection:
            for row in await connection.fetch(_WITH_EARLIER):
                # One campaign at a time: of a large one it takes a look at all passages.
                status = await connection.execute(_DROP, now, row["workspace"], row["campaign"])
                dropped += int(status.split()[-1])
        return dropped


def _version(row: Any) -> StoredVersion:
    return StoredVersion(**{**dict(row), "in_flight": InFlight(row["in_flight"])})
