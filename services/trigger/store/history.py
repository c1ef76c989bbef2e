"""What people did in campaigns before: arms that they were given, goals that they reached."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from asyncpg import Record

from mesh.postgres import Connection
from services.trigger.model import Assignment, Conversion, Enrollment, History, HistoryQuestion, Key
from services.trigger.store.rows import enrollment_of

# Of one person in one campaign: an event may reach the goals of the latest so many passages.
_PASSAGES_MAX = 100


async def load_history(connection: Connection, asked: HistoryQuestion) -> History:
    """Return what is known of what is asked; one query for each kind that anything is asked of."""
    return History(
        passages=await _passages(connection, asked.goals) if asked.goals else (),
        entries=await _entries(connection, asked.entries) if asked.entries else {},
        assigned=await first_assigned(connection, asked.assigned) if asked.assigned else {},
    )


async def _passages(
    connection: Connection, goals: Mapping[Key, datetime]
) -> tuple[Enrollment, ...]:
    rows = await connection.fetch(
        "SELECT e.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])"
        " AS k(workspace, profile, campaign, since) CROSS JOIN LATERAL ("
        "SELECT * FROM enrollments AS o WHERE o.workspace = k.workspace"
        " AND o.profile = k.profile AND o.campaign = k.campaign AND o.entry_time >= k.since"
        " ORDER BY o.entry_time DESC LIMIT $5) AS e",
        *_columns(goals),
        list(goals.values()),
        _PASSAGES_MAX,
    )
    return tuple(enrollment_of(row) for row in rows)


async def _entries(
    connection: Connection, asked: Collection[tuple[Key, str]]
) -> dict[tuple[Key, str], datetime]:
    rows = await connection.fetch(
        "SELECT k.workspace, k.profile, k.campaign, k.reentry_key, greatest("
        "(SELECT max(e.entry_time) FROM enrollments AS e WHERE e.workspace = k.workspace"
        " AND e.profile = k.profile AND e.campaign = k.campaign"
        " AND e.reentry_key = k.reentry_key AND NOT e.dwelling),"
        "(SELECT max(o.entry_time) FROM entries AS o WHERE o.workspace = k.workspace"
        " AND o.profile = k.profile AND o.campaign = k.campaign"
        " AND o.reentry_key = k.reentry_key)) AS entry_time"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])"
        " AS k(workspace, profile, campaign, reentry_key)",
        *_columns([key for key, _ in asked]),
        [value for _, value in asked],
    )
    return {
        (_key(row), row["reentry_key"]): row["entry_time"]
        for row in rows
        if row["entry_time"] is not None
    }


async def first_assigned(connection: Connection, keys: Collection[Key]) -> dict[Key, str]:
    """Return the arm that each was given first, under whichever id; of those who were given one."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (workspace, profile, campaign) workspace, profile, campaign, variant"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS k(workspace, profile, campaign)"
        " JOIN assignments USING (workspace, profile, campaign)"
        " ORDER BY workspace, profile, campaign, assign_time, member",
        *_columns(keys),
    )
    return {_key(row): row["variant"] for row in rows}


async def insert_assignments(connection: Connection, assignments: Sequence[Assignment]) -> None:
    """Remember arms; who has one under that id keeps it."""
    await connection.executemany(
        "INSERT INTO assignments (workspace, profile, campaign, member, variant, split,"
        " assign_time) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        [(*one.key, one.member, one.variant, one.split, one.time) for one in assignments],
    )


async def insert_conversions(connection: Connection, conversions: Sequence[Conversion]) -> None:
    """Count goals; once for each passage.

    Raises:
        asyncpg.ForeignKeyViolationError: A passage is not where it was known to be.
    """
    await connection.executemany(
        "INSERT INTO conversions (workspace, profile, campaign, event_uid, goal, convert_time,"
        " value) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        [(*one.key, one.event_uid, one.goal, one.time, one.value) for one in conversions],
    )


def _columns(keys: Collection[Key]) -> list[list[str]]:
    return [list(column) for column in zip(*keys, strict=True)]


def _key(row: Record) -> Key:
    return Key(row["workspace"], row["profile"], row["campaign"])
