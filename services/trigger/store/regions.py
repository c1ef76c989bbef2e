"""Regions, and which of them campaigns name."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg

from mesh.postgres import Connection, Database
from services.trigger.model import CampaignState, StoredRegion
from services.trigger.store.announcing import announce


class InForce(NamedTuple):
    """A campaign that is active or paused."""

    campaign: str
    state: CampaignState
    spec: bytes


class RegionStore:
    """Keeps regions; they are part of the catalogue as far as campaigns in force name them."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def get(
        self, connection: Connection, workspace: str, region: str, *, lock: bool = False
    ) -> StoredRegion | None:
        """Return a region; locked until the transaction ends, if asked."""
        row = await connection.fetchrow(
            "SELECT * FROM regions WHERE workspace = $1 AND region = $2"
            + (" FOR UPDATE" if lock else ""),
            workspace,
            region,
        )
        return None if row is None else StoredRegion(**dict(row))

    async def page(self, workspace: str, *, after: str, limit: int) -> list[StoredRegion]:
        """Return regions by id, those beyond `after`."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM regions WHERE workspace = $1 AND region > $2"
                " ORDER BY region LIMIT $3",
                workspace,
                after,
                limit,
            )
        return [StoredRegion(**dict(row)) for row in rows]

    async def count(self, connection: Connection, workspace: str) -> int:
        """Return how many a workspace has; no other is made until the transaction ends."""
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('regions/' || $1, 0))", workspace
        )
        found: int = await connection.fetchval(
            "SELECT count(*) FROM regions WHERE workspace = $1", workspace
        )
        return found

    async def insert(
        self, connection: Connection, workspace: str, region: str, spec: bytes, now: datetime
    ) -> StoredRegion:
        """Keep a new region."""
        row = await connection.fetchrow(
            "INSERT INTO regions (workspace, region, spec, revision, create_time, update_time)"
            " VALUES ($1, $2, $3, 1, $4, $4) RETURNING *",
            workspace,
            region,
            spec,
            now,
        )
        assert row is not None
        return StoredRegion(**dict(row))

    async def update(
        self, connection: Connection, stored: StoredRegion, spec: bytes, now: datetime
    ) -> StoredRegion:
        """Write a region that the transaction has locked; return it with its new revision."""
        row = await connection.fetchrow(
            "UPDATE regions SET spec = $3, revision = revision + 1, update_time = $4"
            " WHERE workspace = $1 AND region = $2 RETURNING *",
            stored.workspace,
            stored.region,
            spec,
            now,
        )
        assert row is not None
        return StoredRegion(**dict(row))

    async def delete(self, connection: Connection, stored: StoredRegion) -> None:
        """Remove a region that the transaction has locked."""
        await connection.execute(
            "DELETE FROM regions WHERE workspace = $1 AND region = $2",
            stored.workspace,
            stored.region,
        )

    async def missing(
        self, connection: Connection, workspace: str, regions: Collection[str]
    ) -> list[str]:
        """Return which regions are not there; the others stay until the transaction ends."""
        rows = await connection.fetch(
            "SELECT region FROM regions WHERE workspace = $1 AND region = ANY($2::text[])"
            " ORDER BY region FOR KEY SHARE",
            workspace,
            list(regions),
        )
        return sorted(set(regions) - {row["region"] for row in rows})

    async def in_force_with(
        self, connection: Connection, workspace: str, text: str
    ) -> list[InForce]:
        """Return the active and paused campaigns whose definition holds a text, as names are."""
        rows = await connection.fetch(
            "SELECT campaign, state, spec FROM campaigns"
            " WHERE workspace = $1 AND state = ANY($2::text[]) AND position($3::bytea IN spec) > 0"
            " ORDER BY campaign",
            workspace,
            [CampaignState.ACTIVE.value, CampaignState.PAUSED.value],
            text.encode(),
        )
        return [InForce(row["campaign"], CampaignState(row["state"]), row["spec"]) for row in rows]

    async def announce(self, connection: Connection) -> None:
        """Have what is judged with regions judged with those that the transaction leaves."""
        await announce(connection)

    async def forget_presences(self, before: datetime, *, limit: int) -> int:
        """Forget where people were who were last heard of `before`, at most `limit` of them."""
        async with self.database.connection() as connection:
            status = await connection.execute(
                "DELETE FROM presences WHERE ctid = ANY(ARRAY(SELECT ctid FROM presences"
                " WHERE report_time < $1 LIMIT $2))",
                before,
                limit,
            )
        return int(status.split()[-1])

    async def revisions(
        self, watched: Mapping[str, Collection[str]]
    ) -> dict[str, frozenset[tuple[int, int]]]:
        """Return (number, revision) of the regions there are, by workspace."""
        rows = await self._watched("workspace, number, revision", watched)
        found: dict[str, set[tuple[int, int]]] = {}
        for row in rows:
            found.setdefault(row["workspace"], set()).add((row["number"], row["revision"]))
        return {workspace: frozenset(some) for workspace, some in found.items()}

    async def load(self, workspace: str, regions: Collection[str]) -> list[StoredRegion]:
        """Return regions of a workspace."""
        return [StoredRegion(**dict(row)) for row in await self._watched("*", {workspace: regions})]

    async def _watched(
        self, columns: str, watched: Mapping[str, Collection[str]]
    ) -> list[asyncpg.Record]:
        pairs = [(workspace, one) for workspace, some in watched.items() for one in some]
        async with self.database.connection() as connection:
            return await connection.fetch(
                f"SELECT {columns} FROM regions JOIN unnest($1::text[], $2::text[])"
                " AS w(workspace, region) USING (workspace, region)",
                [workspace for workspace, _ in pairs],
                [region for _, region in pairs],
            )
