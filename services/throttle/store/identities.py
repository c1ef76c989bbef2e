"""Which ids are one person, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from mesh.postgres import Connection, Database
from services.throttle.model import Identity

# Whoever sets ids that overlap waits here, and in one order.
_LOCK = """
SELECT pg_advisory_xact_lock(id) FROM (
    SELECT DISTINCT hashtextextended('identities/' || $1 || '/' || member_id, 0) AS id
    FROM unnest($2::text[]) AS m (member_id) ORDER BY id) AS ids
"""
# At the same version it is a repeat: `previous_id` still says where sends are copied from.
_SET = """
INSERT INTO identities (workspace, member_id, profile_id, previous_id, version)
SELECT $1, member_id, $3, member_id, $4 FROM unnest($2::text[]) AS m (member_id)
ON CONFLICT (workspace, member_id) DO UPDATE SET
    previous_id = CASE WHEN identities.version < excluded.version
        THEN identities.profile_id ELSE identities.previous_id END,
    profile_id = excluded.profile_id, version = excluded.version
WHERE identities.version <= excluded.version
RETURNING member_id, previous_id
"""
_OF = """
SELECT workspace, member_id, profile_id FROM identities
JOIN unnest($1::text[], $2::text[]) AS asked (workspace, member_id) USING (workspace, member_id)
WHERE member_id <> profile_id
"""
_FORGET = """
DELETE FROM identities USING unnest($1::text[], $2::text[]) AS gone (workspace, member_id)
WHERE identities.workspace = gone.workspace AND identities.member_id = gone.member_id
"""
# Sends are counted before they are removed: a repeat finds as many, or those that are left.
_REMEMBER = """
INSERT INTO erasures (erasure, subscriptions, sends, create_time) VALUES ($1, $2, $3, $4)
ON CONFLICT (erasure) DO UPDATE SET
    subscriptions = erasures.subscriptions + excluded.subscriptions,
    sends = greatest(erasures.sends, excluded.sends)
RETURNING subscriptions, sends
"""
# Nobody repeats for so long.
_REMEMBERED_FOR = timedelta(days=30)


class Identities:
    """Keeps who is who."""

    def __init__(self, database: Database) -> None:
        """Take the service's schema."""
        self._database = database

    async def set(self, identity: Identity) -> Mapping[str, bool]:
        """Say which ids are one person; return the ids whose sends count for it from now on.

        Of each: whether it belongs to the person, so that its sends are counted there only. Ids
        of which something newer is known are left alone.
        """
        members = sorted(set(identity.member_ids) | {identity.profile_id})
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK, identity.workspace, members)
            rows = await connection.fetch(
                _SET, identity.workspace, members, identity.profile_id, identity.version
            )
        taken = {row["member_id"] for row in rows}
        sources = taken | {row["previous_id"] for row in rows}
        if identity.profile_id not in taken:
            # It goes by another id since: there is nothing to count for it.
            return {}
        return {one: one in taken for one in sorted(sources - {identity.profile_id})}

    async def of(self, people: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return under which id those go, given as (workspace, id), that go by another."""
        if not people:
            return {}
        workspaces, ids = zip(*people, strict=True)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF, list(workspaces), list(ids))
        return {(row["workspace"], row["member_id"]): row["profile_id"] for row in rows}

    async def erase(
        self, erasure: str, people: Sequence[tuple[str, str]], *, sends: int, now: datetime
    ) -> Mapping[str, int]:
        """Forget who (workspace, id) are and what they agreed to.

        Return how many consents were removed for the erasure, now or before, and how many of
        their `sends` are, by kind.
        """
        workspaces = [workspace for workspace, _ in people]
        ids = [profile_id for _, profile_id in people]
        async with self._database.transaction() as connection:
            status = await _forget_consent(connection, workspaces, ids)
            await connection.execute(_FORGET, workspaces, ids)
            await connection.execute(
                "DELETE FROM erasures WHERE create_time < $1", now - _REMEMBERED_FOR
            )
            row = await connection.fetchrow(_REMEMBER, erasure, int(status.split()[-1]), sends, now)
        assert row is not None
        return dict(row)


async def _forget_consent(
    connection: Connection, workspaces: Sequence[str], ids: Sequence[str]
) -> str:
    return await connection.execute(
        "DELETE FROM subscriptions USING unnest($1::text[], $2::text[])"
        " AS gone (workspace, profile_id) WHERE subscriptions.workspace = gone.workspace"
        " AND subscriptions.profile_id = gone.profile_id",
        list(workspaces),
        list(ids),
    )
