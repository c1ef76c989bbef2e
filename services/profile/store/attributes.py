"""The types of attributes: held in memory once they are settled, for they never change."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.postgres import Connection, Database
from services.profile.model import Refused
from services.profile.model.attributes import ATTRIBUTES_MAX, AttributeType
from services.profile.rules import Types
from services.profile.rules.attributes import is_key

_READ = "SELECT key, type FROM attributes WHERE workspace = $1 AND key = ANY($2::text[])"
_COUNT = "SELECT count(*) FROM attributes WHERE workspace = $1"
# Held to the end of the transaction: who settles types of a workspace settles them alone.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '.attributes', 0))"
_KEEP = """
INSERT INTO attributes (workspace, key, type, create_time)
SELECT $1, key, type, $4 FROM unnest($2::text[], $3::smallint[]) AS w (key, type)
ON CONFLICT DO NOTHING
"""
_GET = "SELECT key, type, create_time FROM attributes WHERE workspace = $1 AND key = $2"
_LIST = """
SELECT key, type, create_time FROM attributes WHERE workspace = $1 AND key > $2
ORDER BY key LIMIT $3
"""

# A key is settled once: whoever was slower finds it so.
_ATTEMPTS_MAX = 3


class Attribute(NamedTuple):
    """An attribute as it was declared or first written."""

    key: str
    type: AttributeType
    create_time: datetime


class AttributeTypes:
    """Reads and settles types, inside the transaction of who writes the values.

    Read first, then lock people, and keep last: whoever waits for another's types then
    holds nothing that the other still wants.
    """

    def __init__(self) -> None:
        """Begin with nothing in memory."""
        self._known: defaultdict[str, dict[str, AttributeType]] = defaultdict(dict)

    async def read(self, db: Connection, wanted: Mapping[str, Collection[str]]) -> dict[str, Types]:
        """Return by workspace what these keys take; costs nothing for those met before.

        To be called before `keep` in a transaction: what may yet be rolled back must not
        be remembered.
        """
        return {
            workspace: await self._read(db, workspace, keys) for workspace, keys in wanted.items()
        }

    async def keep(self, db: Connection, types: Mapping[str, Types], now: datetime) -> None:
        """Write down what was settled since `read`.

        Raises:
            Aborted: Somebody else has settled one of them otherwise meanwhile, or the
                last that there was room for: read, judge and write anew.
        """
        for workspace in sorted(types):
            new = types[workspace].new
            if new:
                await _keep(db, workspace, new, now)

    async def _read(self, db: Connection, workspace: str, keys: Collection[str]) -> Types:
        known = self._known[workspace]
        # What can be no key may be what PostgreSQL cannot even be asked for.
        unknown = [key for key in keys if key not in known and is_key(key)]
        if not unknown:
            return Types(known)
        for row in await db.fetch(_READ, workspace, unknown):
            known[row[0]] = AttributeType(row[1])
        if all(key in known for key in unknown):
            return Types(known)
        return Types(known, room=ATTRIBUTES_MAX - await db.fetchval(_COUNT, workspace))


class Attributes:
    """Lists attributes, and declares them before their first value."""

    def __init__(self, database: Database, types: AttributeTypes) -> None:
        """Take the pool, and the types that this process has in memory."""
        self._database = database
        self._types = types

    async def get(self, workspace: str, key: str) -> Attribute | None:
        """Return an attribute; None: there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_GET, workspace, key)
        return None if row is None else _attribute(row)

    async def page(self, workspace: str, after: str, *, limit: int) -> list[Attribute]:
        """Return the next attributes of a workspace by key."""
        async with self._database.connection() as connection:
            return [
                _attribute(row) for row in await connection.fetch(_LIST, workspace, after, limit)
            ]

    async def declare(
        self, workspace: str, key: str, kind: AttributeType, now: datetime
    ) -> Refused | None:
        """Settle the type of a key, unless it is so already.

        Raises:
            Aborted: Other writers were faster again and again.
        """
        for _ in range(_ATTEMPTS_MAX - 1):
            try:
                return await self._declare(workspace, key, kind, now)
            except Aborted:
                continue
        return await self._declare(workspace, key, kind, now)

    async def _declare(
        self, workspace: str, key: str, kind: AttributeType, now: datetime
    ) -> Refused | None:
        async with self._database.transaction() as db:
            types = (await self._types.read(db, {workspace: [key]}))[workspace]
            refused = types.declare(key, kind, "attribute.type")
            await self._types.keep(db, {workspace: types}, now)
            return refused


def _attribute(row: asyncpg.Record) -> Attribute:
    return Attribute(row[0], AttributeType(row[1]), row[2])


async def _keep(
    db: Connection, workspace: str, new: Mapping[str, AttributeType], now: datetime
) -> None:
    await db.execute(_ALONE, workspace)
    await db.execute(_KEEP, workspace, list(new), list(new.values()), now)
    kept = {row[0]: row[1] for row in await db.fetch(_READ, workspace, list(new))}
    if kept != new or await db.fetchval(_COUNT, workspace) > ATTRIBUTES_MAX:
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
