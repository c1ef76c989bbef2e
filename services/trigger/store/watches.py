"""What profile was told to watch, and the campaigns for which that is reckoned."""

from mesh.postgres import Connection, Database
from services.trigger.model import CampaignState, StoredCampaign

_IN_FORCE = [CampaignState.ACTIVE.value, CampaignState.PAUSED.value]


class WatchStore:
    """Remembers, by workspace, what profile watches."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def digest(self, connection: Connection, workspace: str) -> str:
        """Return what was told last; '' for nothing."""
        digest: str | None = await connection.fetchval(
            "SELECT digest FROM watches WHERE workspace = $1", workspace
        )
        return digest or ""

    async def in_force(self, connection: Connection, workspace: str) -> list[StoredCampaign]:
        """Return the campaigns of a workspace that listen, as the transaction sees them."""
        rows = await connection.fetch(
            "SELECT * FROM campaigns WHERE workspace = $1 AND state = ANY($2::text[])",
            workspace,
            _IN_FORCE,
        )
        return [StoredCampaign(**dict(row)) for row in rows]

    async def version(self, connection: Connection) -> int:
        """Return the version of all campaigns, as the transaction sees them."""
        version: int = await connection.fetchval("SELECT version FROM catalogue")
        return version

    async def overtake(self, connection: Connection, version: int) -> int:
        """Make the version of all campaigns greater than `version`; return it."""
        greater: int = await connection.fetchval(
            "UPDATE catalogue SET version = greatest(version, $1) + 1 RETURNING version", version
        )
        return greater

    async def told(self, connection: Connection, workspace: str, digest: str) -> None:
        """Remember what profile was told."""
        await connection.execute(
            "INSERT INTO watches (workspace, digest) VALUES ($1, $2)"
            " ON CONFLICT (workspace) DO UPDATE SET digest = excluded.digest",
            workspace,
            digest,
        )

    async def workspaces(self) -> dict[str, str]:
        """Return what was told last, by workspace, of those that ever watched anything."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT workspace, digest FROM watches")
        return {row["workspace"]: row["digest"] for row in rows}
