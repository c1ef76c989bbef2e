"""Mends what profile watches after a process died between telling it and committing."""

import structlog

from mesh.errors import MeshError
from services.trigger.clients import Profile
from services.trigger.convert.watches import to_watches
from services.trigger.store import CampaignStore, WatchStore

log = structlog.get_logger(__name__)

_IN_FORCE = ("active", "paused")


class WatchSweep:
    """Compares, now and then, what is watched with what campaigns begin with."""

    def __init__(self, profile: Profile, campaigns: CampaignStore, watches: WatchStore) -> None:
        """Take whom to tell, and what to tell of."""
        self._profile = profile
        self._campaigns = campaigns
        self._watches = watches
        # Told by this process: what others remember to have told, profile may have lost.
        self._told: dict[str, str] = {}

    async def run_once(self) -> None:
        """Tell profile of every workspace where it may watch something else."""
        known = await self._watches.workspaces()
        if not known:
            return
        loaded = await self._campaigns.load(_IN_FORCE)
        for workspace, digest in known.items():
            try:
                wanted = to_watches(one for one in loaded.campaigns if one.workspace == workspace)
                if wanted.digest == digest == self._told.get(workspace):
                    continue
                in_force = await self._profile.set_watches(workspace, loaded.version, wanted)
            except MeshError as error:
                log.warning("watches_not_set", workspace=workspace, reason=error.message)
                continue
            if in_force <= loaded.version:
                await self._remember(workspace, wanted.digest, loaded.version)

    async def _remember(self, workspace: str, digest: str, version: int) -> None:
        async with self._watches.database.transaction() as connection:
            # Whoever writes a campaign tells profile himself; only what nobody has overtaken.
            if await self._watches.version(connection) == version:
                await self._watches.told(connection, workspace, digest)
                self._told[workspace] = digest
