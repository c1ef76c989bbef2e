"""Broadcasts: planned, gone through, cancelled, counted."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from mesh.postgres import Connection, Database
from services.trigger.model import (
    Broadcast,
    BroadcastState,
    CampaignState,
    Enrollment,
    EnrollmentState,
    Occurrence,
    Tally,
    Trace,
)
from services.trigger.store.rows import enrollment_of

_properties = msgspec.json.Decoder(dict[str, Any])
_RUNNING = int(BroadcastState.RUNNING)
_PLANNED = int(BroadcastState.PLANNED)
_CANCELED = int(BroadcastState.CANCELED)
_OPEN = ", ".join(
    str(int(state))
    for state in (EnrollmentState.WAITING, EnrollmentState.SENDING, EnrollmentState.CANCELING)
)
_COLUMNS = (
    "broadcast, workspace, campaign, state, planned, start_time, look_time, event_uid, event_id,"
    " event_type, actor, member, occur_time, receive_time, properties, trace_id, parent_span_id,"
    " sampled"
)
_INSERT = f"""
INSERT INTO broadcasts ({_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT DO NOTHING
"""
# The last gate is the one that refused. What joined the digest of an earlier event has no passage
# of its own.
_LAST_GATE = "convert_from(gates, 'UTF8')::jsonb -> -1 ->> 0"
_TALLY = f"""
SELECT '' AS gate, count(*) AS audience,
    count(*) FILTER (WHERE state IN ({_OPEN})) AS open
FROM enrollments WHERE broadcast = $1 AND state <> {int(EnrollmentState.EXITED)}
UNION ALL
SELECT {_LAST_GATE}, count(*), 0 FROM enrollments
WHERE broadcast = $1 AND state = {int(EnrollmentState.EXITED)} GROUP BY 1
UNION ALL
SELECT {_LAST_GATE}, count(*), 0 FROM decisions WHERE broadcast = $1 GROUP BY 1
UNION ALL
SELECT 'digest', count(*), 0 FROM digest_items AS i
WHERE broadcast = $1 AND NOT EXISTS (SELECT FROM enrollments AS e
    WHERE e.workspace = i.workspace AND e.profile = i.profile AND e.campaign = i.campaign
        AND e.event_uid = i.event_uid)
HAVING count(*) > 0
"""


class Superseded(Exception):
    """Somebody else has gone on with the broadcast, or ended it."""


class BroadcastStore:
    """Keeps broadcasts; a worker has one as long as nobody else may look at it."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def plan(self, workspace: str, campaign: str, planned: Broadcast | None) -> None:
        """Have a campaign go out next then and at no other time; None: at none."""
        async with self.database.transaction() as connection:
            # Two workers that know other versions of it: the newest looks again within a second.
            await connection.execute(
                "SELECT FROM campaigns WHERE workspace = $1 AND campaign = $2 FOR NO KEY UPDATE",
                workspace,
                campaign,
            )
            await connection.execute(
                f"DELETE FROM broadcasts WHERE workspace = $1 AND campaign = $2"
                f" AND state = {_PLANNED} AND broadcast IS DISTINCT FROM $3",
                workspace,
                campaign,
                None if planned is None else planned.id,
            )
            if planned is not None:
                await insert_broadcasts(connection, [planned])

    async def latest(
        self, campaigns: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[datetime | None, UUID | None]]:
        """Return when campaigns last began to go out, and which time of them is planned."""
        workspaces, ids = [one for one, _ in campaigns], [one for _, one in campaigns]
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT workspace, campaign,"
                f" max(start_time) FILTER (WHERE state <> {_PLANNED}) AS begun,"
                f" (array_agg(broadcast) FILTER (WHERE state = {_PLANNED}))[1] AS planned"
                " FROM unnest($1::text[], $2::text[]) AS c(workspace, campaign)"
                " JOIN broadcasts USING (workspace, campaign) WHERE planned"
                " GROUP BY workspace, campaign",
                workspaces,
                ids,
            )
        return {(row["workspace"], row["campaign"]): (row["begun"], row["planned"]) for row in rows}

    async def claim(self, now: datetime, *, look_again: datetime) -> Broadcast | None:
        """Take the broadcast that waits longest to be looked at."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE broadcasts SET look_time = $2 WHERE broadcast = ("
                "SELECT broadcast FROM broadcasts WHERE end_time IS NULL AND look_time <= $1"
                " ORDER BY look_time LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
                now,
                look_again,
            )
        return None if row is None else broadcast_of(row)

    async def next_look(self) -> datetime | None:
        """Return when there is a broadcast to look at."""
        async with self.database.connection() as connection:
            found: datetime | None = await connection.fetchval(
                "SELECT min(look_time) FROM broadcasts WHERE end_time IS NULL"
            )
        return found

    async def begin(self, broadcast: Broadcast, audience: bytes) -> bool:
        """Let a broadcast begin whose time has come, unless its campaign is paused by now."""
        async with self.database.connection() as connection:
            status = await connection.execute(
                f"UPDATE broadcasts AS b SET state = {_RUNNING}, audience = $2"
                " FROM campaigns AS c WHERE b.broadcast = $1 AND b.audience = ''"
                f" AND b.state IN ({_PLANNED}, {_RUNNING})"
                " AND c.workspace = b.workspace AND c.campaign = b.campaign AND c.state = $3",
                broadcast.id,
                audience,
                CampaignState.ACTIVE.value,
            )
        return status.endswith("1")

    async def rest(self, broadcast: UUID, look_time: datetime, *, error: str | None = None) -> None:
        """Let nobody look at a broadcast until then; with what is wrong, '' when nothing is."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE broadcasts SET look_time = $2, error = coalesce($3, error)"
                " WHERE broadcast = $1 AND end_time IS NULL",
                broadcast,
                look_time,
                error,
            )

    async def restart(self, broadcast: Broadcast) -> None:
        """Have the audience gone through from its beginning: who was met has her passage."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE broadcasts SET cursor = '' WHERE broadcast = $1 AND cursor = $2",
                broadcast.id,
                broadcast.cursor,
            )

    async def cancel(self, workspace: str, campaign: str, broadcast: UUID, now: datetime) -> None:
        """End a broadcast that has not ended; the worker sees to who waits."""
        async with self.database.connection() as connection:
            await connection.execute(
                f"UPDATE broadcasts SET state = {_CANCELED}, look_time = $4"
                " WHERE workspace = $1 AND campaign = $2 AND broadcast = $3"
                f" AND state IN ({_PLANNED}, {_RUNNING})",
                workspace,
                campaign,
                broadcast,
                now,
            )

    async def finish(
        self, broadcast: Broadcast, state: BroadcastState, account: bytes, now: datetime
    ) -> None:
        """Write what a broadcast came to."""
        async with self.database.connection() as connection:
            await connection.execute(
                "UPDATE broadcasts SET state = $2, end_time = $3, account = $4, error = ''"
                " WHERE broadcast = $1 AND state = $5 AND end_time IS NULL",
                broadcast.id,
                int(state),
                now,
                account,
                int(broadcast.state),
            )

    async def waiting(self, broadcast: UUID, *, limit: int) -> list[Enrollment]:
        """Return some of those who wait for a message of the broadcast."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT * FROM enrollments WHERE broadcast = $1"
                f" AND state = {int(EnrollmentState.WAITING)} LIMIT $2",
                broadcast,
                limit,
            )
        return [enrollment_of(row) for row in rows]

    async def has_open(self, broadcast: UUID) -> bool:
        """Say whether anybody waits, or is on the way to delivery."""
        async with self.database.connection() as connection:
            found: bool = await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM enrollments WHERE broadcast = $1"
                f" AND state IN ({_OPEN}))",
                broadcast,
            )
        return found

    async def tally(self, broadcast: UUID) -> Tally:
        """Count where everybody is, at one moment."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(_TALLY, broadcast)
        suppressed: dict[str, int] = {}
        for row in rows:
            if row["gate"]:
                suppressed[row["gate"]] = suppressed.get(row["gate"], 0) + row["audience"]
        return Tally(
            sum(row["audience"] for row in rows), suppressed, sum(row["open"] for row in rows)
        )

    async def get(self, workspace: str, campaign: str, broadcast: UUID) -> Broadcast | None:
        """Return a broadcast."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM broadcasts"
                " WHERE workspace = $1 AND campaign = $2 AND broadcast = $3",
                workspace,
                campaign,
                broadcast,
            )
        return None if row is None else broadcast_of(row)

    async def forget(self, before: datetime, *, limit: int) -> int:
        """Delete broadcasts that ended `before`, at most so many; return how many.

        The latest of a schedule stays: what is planned next is planned after it.
        """
        async with self.database.connection() as connection:
            status = await connection.execute(
                "DELETE FROM broadcasts WHERE ctid = ANY(ARRAY(SELECT ctid FROM broadcasts AS b"
                " WHERE end_time < $1 AND (NOT planned OR EXISTS (SELECT FROM broadcasts AS o"
                " WHERE o.workspace = b.workspace AND o.campaign = b.campaign AND o.planned"
                f" AND o.state <> {_PLANNED} AND o.start_time > b.start_time)) LIMIT $2))",
                before,
                limit,
            )
        return int(status.split()[-1])

    async def page(
        self,
        workspace: str,
        campaign: str,
        states: Collection[int],
        *,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[Broadcast]:
        """Return broadcasts newest first; of all campaigns where none is named."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM broadcasts WHERE workspace = $1 AND ($2 = '' OR campaign = $2)"
                " AND (cardinality($3::smallint[]) = 0 OR state = ANY($3))"
                " AND ($4::timestamptz IS NULL OR (start_time, broadcast) < ($4, $5::uuid))"
                " ORDER BY start_time DESC, broadcast DESC LIMIT $6",
                workspace,
                campaign,
                list(states),
                *(before or (None, None)),
                limit,
            )
        return [broadcast_of(row) for row in rows]


async def insert_broadcasts(connection: Connection, broadcasts: Sequence[Broadcast]) -> None:
    """Keep new broadcasts; those that are known stay as they are."""
    await connection.executemany(_INSERT, [_row(one) for one in broadcasts])


async def advance(
    connection: Connection,
    broadcast: Broadcast,
    cursor: str,
    *,
    counted: bool,
    look_again: datetime,
) -> None:
    """Move on the cursor of a broadcast, in the transaction that begins the passages.

    Raises:
        Superseded: It is not where it was, or has been ended.
    """
    status = await connection.execute(
        f"UPDATE broadcasts SET cursor = $3, counted = $4, look_time = $5, error = ''"
        f" WHERE broadcast = $1 AND cursor = $2 AND state = {_RUNNING} AND NOT counted",
        broadcast.id,
        broadcast.cursor,
        cursor,
        counted,
        look_again,
    )
    if not status.endswith("1"):
        raise Superseded


async def forget_actors(
    connection: Connection, workspace: str, profiles: Collection[str]
) -> Mapping[str, int]:
    """End the broadcasts of what erased people did, and forget what it was."""
    status = await connection.execute(
        "UPDATE broadcasts SET properties = '{}', actor = '', member = '', audience = '',"
        f" cursor = '', event_id = '', state = CASE WHEN state IN ({_PLANNED}, {_RUNNING})"
        f" THEN {_CANCELED} ELSE state END"
        " WHERE workspace = $1 AND NOT planned"
        " AND (actor = ANY($2::text[]) OR member <> '' AND member = ANY($2::text[]))",
        workspace,
        list(profiles),
    )
    return {"broadcasts": int(status.split()[-1])}


def _row(one: Broadcast) -> tuple[object, ...]:
    event = one.event
    return (
        one.id,
        event.workspace,
        one.campaign,
        int(one.state),
        one.planned,
        one.start_time,
        one.start_time,
        event.uid,
        event.event_id,
        event.type,
        event.profile,
        event.member,
        event.occur_time,
        event.receive_time,
        event.properties_json,
        event.trace.trace_id,
        event.trace.parent_span_id,
        event.trace.sampled,
    )


def broadcast_of(row: asyncpg.Record) -> Broadcast:
    """Return the broadcast that a row holds."""
    stored: bytes = row["properties"]
    return Broadcast(
        id=row["broadcast"],
        campaign=row["campaign"],
        state=BroadcastState(row["state"]),
        planned=row["planned"],
        event=Occurrence(
            uid=row["event_uid"],
            event_id=row["event_id"],
            type=row["event_type"],
            workspace=row["workspace"],
            profile=row["actor"],
            occur_time=row["occur_time"],
            receive_time=row["receive_time"],
            properties=_properties.decode(stored),
            properties_json=stored,
            trace=Trace(row["trace_id"], row["parent_span_id"], row["sampled"]),
            member=row["member"],
        ),
        start_time=row["start_time"],
        end_time=row["end_time"],
        audience=row["audience"],
        cursor=row["cursor"],
        counted=row["counted"],
        error=row["error"],
        account=row["account"],
    )
