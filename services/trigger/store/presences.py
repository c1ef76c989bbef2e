"""Where people were by their latest report."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg
import msgspec

from mesh.postgres import Connection
from services.trigger.model import Presence

# Under which id of the person the report came.
_ORIGIN = "coalesce(nullif(member, ''), profile)"
_OF_PEOPLE = f"workspace = $1 AND profile = ANY($2::text[]) AND {_ORIGIN} = ANY($3::text[])"

_inside = msgspec.json.Decoder(dict[int, datetime])
_encode = msgspec.json.Encoder().encode


async def load_presences(
    connection: Connection, people: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Presence]:
    """Return where those of the people are, given as (workspace, id), of whom it is known."""
    rows = await connection.fetch(
        "SELECT p.* FROM presences AS p JOIN unnest($1::text[], $2::text[])"
        " AS k(workspace, profile) USING (workspace, profile)",
        [workspace for workspace, _ in people],
        [profile for _, profile in people],
    )
    return {(row["workspace"], row["profile"]): presence_of(row) for row in rows}


async def write_presences(connection: Connection, presences: Sequence[Presence]) -> bool:
    """Write where people are; False when somebody was heard of since it was read where she was."""
    # In one order, so that turns of two partitions that know one person cannot wait for each other.
    rows = sorted(
        (
            one.workspace,
            one.profile,
            one.member,
            one.report_time,
            _encode({str(number): since for number, since in one.inside.items()}).decode(),
            one.revision,
        )
        for one in presences
    )
    status = await connection.execute(
        "INSERT INTO presences (workspace, profile, member, report_time, inside, revision)"
        " SELECT workspace, profile, member, report_time, inside::jsonb, revision + 1"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[],"
        " $6::bigint[]) AS u(workspace, profile, member, report_time, inside, revision)"
        " ON CONFLICT (workspace, profile) DO UPDATE SET member = excluded.member,"
        " report_time = excluded.report_time, inside = excluded.inside,"
        " revision = excluded.revision WHERE presences.revision = excluded.revision - 1",
        *[list(column) for column in zip(*rows, strict=True)],
    )
    return int(status.split()[-1]) == len(rows)


async def presences_of(
    connection: Connection, workspace: str, ids: Collection[str], members: Collection[str]
) -> tuple[Presence, ...]:
    """Return what is known under some ids of where those are who reported as some others."""
    rows = await connection.fetch(
        f"SELECT * FROM presences WHERE {_OF_PEOPLE} ORDER BY profile",
        workspace,
        list(ids),
        list(members),
    )
    return tuple(presence_of(row) for row in rows)


async def move_presences(
    connection: Connection,
    workspace: str,
    ids: Collection[str],
    members: Collection[str],
    profile: str,
) -> None:
    """Give what is known of where people are to whom they are now: the latest report of all."""
    await connection.execute(
        f"WITH gone AS (DELETE FROM presences WHERE {_OF_PEOPLE} AND profile <> $4"
        f" RETURNING workspace, {_ORIGIN} AS origin, report_time, inside, revision)"
        " INSERT INTO presences (workspace, profile, member, report_time, inside, revision)"
        " SELECT workspace, $4, CASE WHEN origin = $4 THEN '' ELSE origin END, report_time, inside,"
        " revision + 1 FROM gone ORDER BY report_time DESC, origin LIMIT 1"
        " ON CONFLICT (workspace, profile) DO UPDATE SET member = excluded.member,"
        " report_time = excluded.report_time, inside = excluded.inside,"
        " revision = presences.revision + 1 WHERE excluded.report_time > presences.report_time",
        workspace,
        list(ids),
        list(members),
        profile,
    )


def presence_of(row: asyncpg.Record) -> Presence:
    """Return what a row says."""
    return Presence(
        workspace=row["workspace"],
        profile=row["profile"],
        member=row["member"],
        report_time=row["report_time"],
        inside=_inside.decode(row["inside"]),
        revision=row["revision"],
    )
