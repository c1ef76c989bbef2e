"""Settings of workspaces."""

import asyncpg

from mesh.postgres import Connection, Database
from services.trigger.model import Settings, StoredSettings
from services.trigger.store.announcing import announce


class SettingsStore:
    """Keeps settings; they are part of the catalogue, and every change counts up its version."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def get(
        self, connection: Connection, workspace: str, *, lock: bool = False
    ) -> StoredSettings:
        """Return the settings of a workspace; locked until the transaction ends, if asked."""
        if lock:
            # Nothing can lock a row that is not there yet; changes are rare.
            await connection.execute("SELECT version FROM catalogue FOR UPDATE")
        row = await connection.fetchrow("SELECT * FROM settings WHERE workspace = $1", workspace)
        return StoredSettings(workspace=workspace) if row is None else settings_of(row)

    async def put(self, connection: Connection, stored: StoredSettings) -> None:
        """Write settings that the transaction has locked."""
        await connection.execute(
            "INSERT INTO settings"
            " (workspace, time_zone, holdout_percent, holdout_salt, revision, update_time)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (workspace) DO UPDATE SET"
            " time_zone = excluded.time_zone, holdout_percent = excluded.holdout_percent,"
            " holdout_salt = excluded.holdout_salt, revision = excluded.revision,"
            " update_time = excluded.update_time",
            stored.workspace,
            stored.settings.time_zone,
            stored.settings.holdout_percent,
            stored.settings.holdout_salt,
            stored.revision,
            stored.update_time,
        )
        await announce(connection)


def settings_of(row: asyncpg.Record) -> StoredSettings:
    """Return what a row says."""
    return StoredSettings(
        workspace=row["workspace"],
        settings=Settings(
            time_zone=row["time_zone"],
            holdout_percent=row["holdout_percent"],
            holdout_salt=row["holdout_salt"],
        ),
        revision=row["revision"],
        update_time=row["update_time"],
    )
