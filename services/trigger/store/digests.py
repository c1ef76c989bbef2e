"""What windows gathered: read for a turn, written by it, and read when they are flushed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import exceptions as driver

from mesh.postgres import Connection
from services.trigger.model import (
    DigestContent,
    DigestEffects,
    DigestItem,
    DigestQuestion,
    DigestRecords,
    DigestUndo,
    Enrollment,
    Key,
    ObjectTally,
    Occurrence,
    Trace,
    WindowSummary,
)

Name = tuple[Key, UUID]
"""Of a window: its passage's."""

_COLUMNS = (
    "workspace",
    "profile",
    "campaign",
    "event_uid",
    "window_uid",
    "member",
    "event_id",
    "event_type",
    "event_profile",
    "occur_time",
    "receive_time",
    "properties",
    "trace_id",
    "actor",
    "object",
    "removed",
    "remove_time",
    "broadcast",
)
_properties = msgspec.json.Decoder(dict[str, Any])


async def load_summaries(
    connection: Connection, passages: Collection[Enrollment]
) -> dict[Name, WindowSummary]:
    """Return what is left in the windows among some passages."""
    windows = _windows(passages)
    if not windows:
        return {}
    rows = await connection.fetch(
        "SELECT k.window_uid AS asked_uid, k.asked_profile, k.asked_campaign,"
        " k.asked_workspace, s.left_count, s.removed_count, l.*"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
        " AS k(asked_workspace, asked_profile, asked_campaign, window_uid)"
        " CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE removed = '') AS left_count,"
        " count(*) FILTER (WHERE removed <> '') AS removed_count FROM digest_items"
        " WHERE workspace = k.asked_workspace AND profile = k.asked_profile"
        " AND campaign = k.asked_campaign AND window_uid = k.window_uid) AS s"
        " LEFT JOIN LATERAL (SELECT * FROM digest_items"
        " WHERE workspace = k.asked_workspace AND profile = k.asked_profile"
        " AND campaign = k.asked_campaign AND window_uid = k.window_uid"
        " AND removed = '' ORDER BY occur_time DESC, event_uid DESC LIMIT 1) AS l ON true",
        *_columns(windows),
    )
    return {
        (
            Key(row["asked_workspace"], row["asked_profile"], row["asked_campaign"]),
            row["asked_uid"],
        ): WindowSummary(
            row["left_count"],
            _occurrence(row, row["event_profile"]) if row["left_count"] else None,
            row["removed_count"],
        )
        for row in rows
    }


async def load_contents(
    connection: Connection, passages: Mapping[Name, int]
) -> dict[Name, DigestContent]:
    """Return what windows hold: all counted, of each the latest, at most so many."""
    if not passages:
        return {}
    columns = _columns(list(passages))
    tallies = await connection.fetch(
        "SELECT workspace, profile, campaign, window_uid, object, count(*) AS count,"
        " count(DISTINCT actor) AS actor_count"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
        " AS k(workspace, profile, campaign, window_uid)"
        " JOIN digest_items USING (workspace, profile, campaign, window_uid)"
        " WHERE removed = '' GROUP BY 1, 2, 3, 4, 5",
        *columns,
    )
    rows = await connection.fetch(
        "SELECT l.* FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[],"
        " $5::integer[]) AS k(workspace, profile, campaign, window_uid, items_max)"
        " CROSS JOIN LATERAL (SELECT * FROM digest_items AS i"
        " WHERE i.workspace = k.workspace AND i.profile = k.profile"
        " AND i.campaign = k.campaign AND i.window_uid = k.window_uid AND i.removed = ''"
        " ORDER BY i.occur_time DESC, i.event_uid DESC LIMIT k.items_max) AS l"
        " ORDER BY l.occur_time DESC, l.event_uid DESC",
        *columns,
        list(passages.values()),
    )
    counted: dict[Name, list[ObjectTally]] = {name: [] for name in passages}
    latest: dict[Name, list[DigestItem]] = {name: [] for name in passages}
    for row in tallies:
        counted[_name(row)].append(ObjectTally(row["object"], row["count"], row["actor_count"]))
    for row in rows:
        latest[_name(row)].append(item_of(row))
    return {name: DigestContent(counted[name], latest[name]) for name in passages}


async def load_digests(
    connection: Connection, question: DigestQuestion, event_uids: Collection[UUID]
) -> DigestRecords:
    """Return what a turn may add to or take out of."""
    items: list[DigestItem] = []
    undos: list[DigestUndo] = []
    if question.adding:
        adding = _columns_of(question.adding)
        known = await connection.fetch(
            "SELECT i.* FROM unnest($1::text[], $2::text[], $3::text[])"
            " AS k(workspace, profile, campaign)"
            " JOIN digest_items AS i USING (workspace, profile, campaign)"
            " WHERE i.event_uid = ANY($4::uuid[])",
            *adding,
            list(event_uids),
        )
        items += map(item_of, known)
        taken = await connection.fetch(
            "SELECT u.* FROM unnest($1::text[], $2::text[], $3::text[])"
            " AS k(workspace, profile, campaign)"
            " JOIN digest_undos AS u USING (workspace, profile, campaign)"
            " WHERE u.occur_time > $4",
            *adding,
            question.since,
        )
        undos += map(_undo_of, taken)
    whose = [(key, None) for key in question.removing]
    asked: list[tuple[Key, str | None]] = [*whose, *question.undoing]
    if asked:
        rows = await connection.fetch(
            "SELECT DISTINCT i.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])"
            " AS k(workspace, profile, campaign, whose)"
            " JOIN enrollments AS e USING (workspace, profile, campaign)"
            " JOIN digest_items AS i ON i.workspace = e.workspace AND i.profile = e.profile"
            " AND i.campaign = e.campaign AND i.window_uid = e.event_uid"
            # What has ended is as it is; of what was sent it is asked until it expires.
            " WHERE e.digest_key IS NOT NULL AND e.state IN (2, 3, 4) AND i.removed = ''"
            " AND (e.state <> 4 OR e.expire_time > now())"
            " AND (k.whose IS NULL OR i.actor = k.whose)",
            *_columns_of([key for key, _ in asked]),
            [actor for _, actor in asked],
        )
        items += map(item_of, rows)
    return DigestRecords(items, undos)


async def write_digests(connection: Connection, effects: DigestEffects) -> bool:
    """Write what a turn gathered and took out; False when another was faster.

    Whatever changes what a window holds changes its passage too, which the commit compares. What
    opens a window is compared with what was taken back meanwhile.
    """
    if effects.undos:
        await connection.executemany(
            "INSERT INTO digest_undos (workspace, profile, campaign, occur_time, event_uid, member,"
            " event_id, event_type, event_profile, receive_time, properties, actor, object)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
            " ON CONFLICT DO NOTHING",
            [_undo_row(one) for one in effects.undos],
        )
    if effects.removed:
        await connection.executemany(
            "UPDATE digest_items SET removed = $5, remove_time = $6 WHERE workspace = $1"
            " AND profile = $2 AND campaign = $3 AND event_uid = $4",
            [(*one.key, one.event.uid, one.removed, one.remove_time) for one in effects.removed],
        )
    if not effects.added:
        return True
    if await _taken_meanwhile(connection, effects):
        return False
    try:
        await insert_items(connection, effects.added)
    except (driver.UniqueViolationError, driver.ForeignKeyViolationError):
        return False
    return True


async def insert_items(connection: Connection, items: Sequence[DigestItem]) -> None:
    """Write events that were gathered; their windows are written."""
    await connection.copy_records_to_table(
        "digest_items",
        records=[
            (
                *one.key,
                one.event.uid,
                one.window,
                one.member,
                one.event.event_id,
                one.event.type,
                one.event.profile,
                one.event.occur_time,
                one.event.receive_time,
                one.event.properties_json,
                one.event.trace.trace_id,
                one.actor,
                one.object,
                one.removed,
                one.remove_time,
                one.broadcast,
            )
            for one in items
        ],
        columns=_COLUMNS,
    )


async def forget_undos(connection: Connection, before: datetime, *, limit: int) -> int:
    """Delete what was received `before` and takes nothing back any more; return how many."""
    status = await connection.execute(
        "DELETE FROM digest_undos WHERE ctid = ANY(ARRAY(SELECT ctid FROM digest_undos"
        " WHERE receive_time < $1 LIMIT $2))",
        before,
        limit,
    )
    return int(status.split()[-1])


def item_of(row: asyncpg.Record) -> DigestItem:
    """Return the item that a row holds."""
    return DigestItem(
        key=Key(row["workspace"], row["profile"], row["campaign"]),
        window=row["window_uid"],
        event=_occurrence(row, row["event_profile"]),
        actor=row["actor"],
        object=row["object"],
        member=row["member"],
        removed=row["removed"],
        remove_time=row["remove_time"],
        broadcast=row["broadcast"],
    )


async def _taken_meanwhile(connection: Connection, effects: DigestEffects) -> bool:
    added = effects.added
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM unnest($1::text[], $2::text[], $3::text[],"
        " $4::timestamptz[]) AS k(workspace, profile, campaign, occur_time)"
        " JOIN digest_undos AS u USING (workspace, profile, campaign)"
        " WHERE u.occur_time > k.occur_time AND NOT u.event_uid = ANY($5::uuid[]))",
        *_columns_of([one.key for one in added]),
        [one.event.occur_time for one in added],
        [*effects.heard, *(one.event.uid for one in effects.undos)],
    )
    return found


def _undo_row(one: DigestUndo) -> tuple[object, ...]:
    event = one.event
    return (
        *one.key,
        event.occur_time,
        event.uid,
        one.member,
        event.event_id,
        event.type,
        event.profile,
        event.receive_time,
        event.properties_json,
        one.actor,
        one.object,
    )


def _undo_of(row: asyncpg.Record) -> DigestUndo:
    return DigestUndo(
        key=Key(row["workspace"], row["profile"], row["campaign"]),
        event=_occurrence(row, row["event_profile"]),
        actor=row["actor"],
        object=row["object"],
        member=row["member"],
    )


def _occurrence(row: asyncpg.Record, profile: str) -> Occurrence:
    stored: bytes = row["properties"]
    return Occurrence(
        uid=row["event_uid"],
        event_id=row["event_id"],
        type=row["event_type"],
        workspace=row["workspace"],
        profile=profile,
        occur_time=row["occur_time"],
        receive_time=row["receive_time"],
        properties=_properties.decode(stored),
        properties_json=stored,
        trace=Trace(row.get("trace_id") or b"", None, sampled=False),
    )


def _name(row: asyncpg.Record) -> Name:
    return Key(row["workspace"], row["profile"], row["campaign"]), row["window_uid"]


def _windows(passages: Collection[Enrollment]) -> list[Name]:
    return [(one.key, one.event.uid) for one in passages if one.digest_key is not None]


def _columns(windows: Sequence[Name]) -> list[list[Any]]:
    return [*_columns_of([key for key, _ in windows]), [uid for _, uid in windows]]


def _columns_of(keys: Collection[Key]) -> list[list[str]]:
    return [[key[at] for key in keys] for at in range(len(Key._fields))]
