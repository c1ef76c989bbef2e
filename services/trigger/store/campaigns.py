"""Campaigns and the version of all of them together."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import asyncpg

from mesh.postgres import Connection, Database
from services.trigger.model import Settings, StoredCampaign, StoredVersion
from services.trigger.store.announcing import announce
from services.trigger.store.settings import settings_of
from services.trigger.store.versions import earlier_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """All that campaigns are judged with, of one moment."""

    version: int
    """Of the catalogue."""
    campaigns: list[StoredCampaign]
    settings: Mapping[str, Settings]
    """By workspace; of those that have set any."""
    earlier: list[StoredVersion] = field(default_factory=list)
    """Versions before the newest by which somebody may still go."""


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
        await announce(connection)
        return status.endswith("1")

    async def update(self, connection: Connection, campaign: StoredCampaign) -> StoredCampaign:
        """Write a campaign that the transaction has locked; return it with its new revision."""
        await connection.execute(
            "UPDATE campaigns SET state = $3, spec = $4, version = $5, revision = $6,"
            " update_time = $7, launch_time = $8, migrate_version = $9, exit_version = $10"
            " WHERE workspace = $1 AND campaign = $2",
            campaign.workspace,
            campaign.campaign,
            campaign.state,
            campaign.spec,
            campaign.version,
            campaign.revision + 1,
            campaign.update_time,
            campaign.launch_time,
            campaign.migrate_version,
            campaign.exit_version,
        )
        await announce(connection)
        return replace(campaign, revision=campaign.revision + 1)

    async def catalogue_version(self) -> int:
        """Return the version of all campaigns together."""
        async with self.database.connection() as connection:
            version: int = await connection.fetchval("SELECT version FROM catalogue")
        return version

    async def load(self, states: Collection[str]) -> Loaded:
        """Return the campaigns in `states`, and all that they are judged with."""
        async with self.database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            version: int = await connection.fetchval("SELECT version FROM catalogue")
            rows = await connection.fetch(
                "SELECT * FROM campaigns WHERE state = ANY($1::text[])"
                " ORDER BY workspace, campaign",
                list(states),
            )
            settings = await connection.fetch("SELECT * FROM settings")
            earlier = await earlier_versions(connection, states)
        return Loaded(
            version=version,
            campaigns=[_campaign(row) for row in rows],
            settings={row["workspace"]: settings_of(row).settings for row in settings},
            earlier=earlier,
        )


def _campaign(row: asyncpg.Record) -> StoredCampaign:
    return StoredCampaign(**dict(row))
