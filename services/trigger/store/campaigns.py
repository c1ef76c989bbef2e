"""Campaigns and the version of all of them together."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection
from dataclasses import replace

import asyncpg

from mesh.postgres import Connection, Database
from services.trigger.model import StoredCampaign

CHANNEL = "trigger_catalogue"
"""On which a new version of the catalogue is made known."""


class CampaignStore:
    """Keeps campaigns; every change counts up the catalogue's version in its transaction."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def get(
        self, connection: Connection, workspace: str, campaign: str, *, lock: bool = False
    ) -> StoredCampaign | None:
        """Return a campaign; locked until the transaction ends, if asked."""
        row = await connection.fetchrow(
            "SELECT * FROM campaigns WHERE workspace = $1 AND campaign = $2"
            + (" FOR UPDATE" if lock else ""),
            workspace,
            campaign,
        )
        return None if row is None else _campaign(row)

    async def page(
        self, workspace: str, states: Collection[str], *, after: str, limit: int
    ) -> list[StoredCampaign]:
        """Return campaigns in some of `states` by id, those beyond `after`."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM campaigns WHERE workspace = $1 AND state = ANY($2::text[])"
                " AND campaign > $3 ORDER BY campaign LIMIT $4",
                workspace,
                list(states),
                after,
                limit,
            )
        return [_campaign(row) for row in rows]

    async def insert(self, connection: Connection, campaign: StoredCampaign) -> bool:
        """Keep a new campaign; False when the id is taken."""
        status = await connection.execute(
            "INSERT INTO campaigns (workspace, campaign, state, spec, version, revision,"
            " create_time, update_time, launch_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT DO NOTHING",
            campaign.workspace,
            campaign.campaign,
            campaign.state,
            campaign.spec,
            campaign.version,
            campaign.revision,
            campaign.create_time,
            campaign.update_time,
            campaign.launch_time,
        )
        await _announce(connection)
        return status.endswith("1")

    async def update(self, connection: Connection, campaign: StoredCampaign) -> StoredCampaign:
        """Write a campaign that the transaction has locked; return it with its new revision."""
        await connection.execute(
            "UPDATE campaigns SET state = $3, spec = $4, version = $5, revision = $6,"
            " update_time = $7, launch_time = $8 WHERE workspace = $1 AND campaign = $2",
            campaign.workspace,
            campaign.campaign,
            campaign.state,
            campaign.spec,
            campaign.version,
            campaign.revision + 1,
            campaign.update_time,
            campaign.launch_time,
        )
        await _announce(connection)
        return replace(campaign, revision=campaign.revision + 1)

    async def catalogue_version(self) -> int:
        """Return the version of all campaigns together."""
        async with self.database.connection() as connection:
            version: int = await connection.fetchval("SELECT version FROM catalogue")
        return version

    async def load(self, states: Collection[str]) -> tuple[int, list[StoredCampaign]]:
        """Return the catalogue's version and its campaigns in `states`, of one moment."""
        async with self.database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            version: int = await connection.fetchval("SELECT version FROM catalogue")
            rows = await connection.fetch(
                "SELECT * FROM campaigns WHERE state = ANY($1::text[])"
                " ORDER BY workspace, campaign",
                list(states),
            )
        return version, [_campaign(row) for row in rows]


async def _announce(connection: Connection) -> None:
    # Heard when the transaction commits, and not at all when it does not.
    version = await connection.fetchval(
        "UPDATE catalogue SET version = version + 1 RETURNING version"
    )
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(version))


def _campaign(row: asyncpg.Record) -> StoredCampaign:
    return StoredCampaign(**dict(row))
