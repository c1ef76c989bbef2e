"""What windows gathered, when their people are united, parted or erased."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from mesh.postgres import Connection
from services.trigger.model import DigestItem, Enrollment, EnrollmentState, Key
from services.trigger.rules import Regrouped, orphaned, regroup
from services.trigger.store.digests import insert_items, item_of
from services.trigger.store.rows import enrollment_of

_OPEN = (
    "SELECT * FROM enrollments WHERE workspace = $1 AND profile = ANY($2::text[])"
    f" AND digest_key IS NOT NULL AND state = {int(EnrollmentState.WAITING)}"
    " AND release_time IS NULL ORDER BY profile, campaign, event_uid FOR UPDATE"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was in windows that gather, which are about to go to others."""

    windows: dict[tuple[Key, UUID], Enrollment]
    items: Sequence[DigestItem]


async def take_items(
    connection: Connection, workspace: str, sources: Collection[str], profile: str
) -> Taken:
    """Take what some people's open windows hold out of them; what is released stays as it is."""
    people = [workspace, list({*sources, profile})]
    windows = [enrollment_of(row) for row in await connection.fetch(_OPEN, *people)]
    columns = [[one.key[at] for one in windows] for at in range(3)]
    rows = await connection.fetch(
        "DELETE FROM digest_items AS i USING unnest($1::text[], $2::text[], $3::text[],"
        " $4::uuid[]) AS k(workspace, profile, campaign, window_uid)"
        " WHERE i.workspace = k.workspace AND i.profile = k.profile"
        " AND i.campaign = k.campaign AND i.window_uid = k.window_uid RETURNING i.*",
        *columns,
        [one.event.uid for one in windows],
    )
    # What was told to one of them, and to her again under another id, is on record once.
    await connection.execute(
        "DELETE FROM digest_items AS i WHERE workspace = $1 AND profile = ANY($2::text[])"
        " AND profile <> $3 AND EXISTS (SELECT 1 FROM digest_items AS o"
        " WHERE o.workspace = i.workspace AND o.profile = ANY($2::text[])"
        " AND o.profile < i.profile AND o.campaign = i.campaign AND o.event_uid = i.event_uid"
        " OR o.workspace = i.workspace AND o.profile = $3 AND o.campaign = i.campaign"
        " AND o.event_uid = i.event_uid)",
        *people,
        profile,
    )
    return Taken({(one.key, one.event.uid): one for one in windows}, [*map(item_of, rows)])


async def regroup_windows(
    connection: Connection,
    taken: Taken,
    workspace: str,
    sources: Collection[str],
    members: Collection[str],
    profile: str,
    *,
    now: datetime,
) -> Regrouped:
    """Return who of the people is told what by which window, now that their passages have moved."""
    rows = await connection.fetch(_OPEN, workspace, list({*sources, profile}))
    moved = [
        (_moved(item, profile) if item.origin in members else item, window)
        for item in taken.items
        if (window := taken.windows.get((item.key, item.window))) is not None
    ]
    regrouped = regroup([enrollment_of(row) for row in rows], moved, now=now)
    begun = [one for one in regrouped.windows if not one.revision]
    before = await connection.fetch(
        "SELECT e.* FROM enrollments AS e"
        " JOIN unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
        " AS k(workspace, profile, campaign, event_uid)"
        " USING (workspace, profile, campaign, event_uid)",
        *([one.key[at] for one in begun] for at in range(3)),
        [one.event.uid for one in begun],
    )
    # Its own was over while its people were one: it goes on.
    again = {(one.key, one.event.uid): one.revision for one in map(enrollment_of, before)}
    return replace(
        regrouped,
        windows=tuple(
            replace(one, revision=again.get((one.key, one.event.uid), one.revision))
            for one in regrouped.windows
        ),
    )


async def put_items(connection: Connection, regrouped: Regrouped) -> None:
    """Write what is in windows that are written."""
    known = await connection.fetch(
        "SELECT workspace, profile, campaign, event_uid FROM digest_items"
        " JOIN unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
        " AS k(workspace, profile, campaign, event_uid)"
        " USING (workspace, profile, campaign, event_uid)",
        *([one.key[at] for one in regrouped.items] for at in range(3)),
        [one.event.uid for one in regrouped.items],
    )
    # What she was told of by a window that is over is not told again.
    over = {tuple(row) for row in known}
    await insert_items(
        connection, [one for one in regrouped.items if (*one.key, one.event.uid) not in over]
    )


async def rename_actors(
    connection: Connection, workspace: str, members: Collection[str], profile: str
) -> None:
    """Have what people did under several ids count as one person's."""
    for table in ("digest_items", "digest_undos"):
        await connection.execute(
            f"UPDATE {table} SET actor = $3 WHERE workspace = $1"
            " AND actor = ANY($2::text[]) AND actor <> $3",
            workspace,
            list(members),
            profile,
        )


async def take_out(
    connection: Connection, workspace: str, ids: Sequence[str], *, now: datetime
) -> tuple[int, list[Enrollment]]:
    """Take what people did out of the digests of others.

    Returns:
        How much it was, and the digests on their way to others that told of it, to be stopped.
    """
    await connection.execute(
        "DELETE FROM digest_undos WHERE workspace = $1"
        " AND (actor = ANY($2::text[]) OR event_profile = ANY($2::text[])"
        " OR profile = ANY($2::text[]))",
        workspace,
        list(ids),
    )
    rows = await connection.fetch(
        "SELECT * FROM enrollments WHERE (workspace, profile, campaign, event_uid) IN ("
        "SELECT workspace, profile, campaign, window_uid FROM digest_items WHERE workspace = $1"
        " AND (actor = ANY($2::text[]) OR event_profile = ANY($2::text[])))"
        " ORDER BY profile, campaign, event_uid FOR UPDATE",
        workspace,
        list(ids),
    )
    windows = [enrollment_of(row) for row in rows]
    # Whoever judges them by what they held before is to judge again.
    await connection.execute(
        "UPDATE enrollments AS e SET revision = revision + 1"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])"
        " AS k(workspace, profile, campaign, event_uid)"
        " WHERE e.workspace = k.workspace AND e.profile = k.profile"
        " AND e.campaign = k.campaign AND e.event_uid = k.event_uid",
        *([one.key[at] for one in windows] for at in range(3)),
        [one.event.uid for one in windows],
    )
    status = await connection.execute(
        "DELETE FROM digest_items WHERE workspace = $1"
        " AND (actor = ANY($2::text[]) OR event_profile = ANY($2::text[]))",
        workspace,
        list(ids),
    )
    under_way = [
        orphaned(one, now=now)
        for one in windows
        if one.state is EnrollmentState.SENDING
        or (one.state is EnrollmentState.SENT and one.expire_time > now)
    ]
    return int(status.split()[-1]), under_way


def _moved(item: DigestItem, profile: str) -> DigestItem:
    return replace(
        item,
        key=item.key._replace(profile=profile),
        member="" if item.origin == profile else item.origin,
    )
