"""Has profile watch what campaigns begin with, before anybody is told that they are in force."""

from datetime import datetime

from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.postgres import Connection
from services.trigger.clients import Profile
from services.trigger.convert.beginnings import to_beginning
from services.trigger.convert.times import from_timestamp
from services.trigger.convert.watches import Watches, to_watches
from services.trigger.model import CampaignState, StoredCampaign
from services.trigger.servicer.audience_checks import require_audience
from services.trigger.store import BackfillStore, WatchStore


class Watching:
    """Is told of every campaign that is written, in the transaction that writes it."""

    def __init__(self, profile: Profile, watches: WatchStore, backfills: BackfillStore) -> None:
        """Take whom to tell, and where is remembered what was told."""
        self._profile = profile
        self._watches = watches
        self._backfills = backfills

    async def require_audience(self, workspace: str, campaign: Campaign) -> None:
        """Raise InvalidArgument unless profile can look for whom a campaign is for."""
        await require_audience(self._profile, workspace, campaign)

    async def written(
        self, connection: Connection, campaign: StoredCampaign, *, now: datetime
    ) -> None:
        """Have watched what the workspace needs from now on, and its people gone through.

        The transaction has counted up the version of all campaigns: until it ends, no other of
        them is written. Should it not come to its end, more is watched than needs to be until
        the next. What is not needed any more is watched until the worker sweeps.

        Raises:
            MeshError: Profile is away; nothing may be committed.
        """
        told = await self._watches.digest(connection, campaign.workspace)
        if campaign.state != CampaignState.ARCHIVED.value:
            wanted = to_watches(await self._watches.in_force(connection, campaign.workspace))
            if wanted.digest != told:
                await self._tell(connection, campaign.workspace, wanted)
        if campaign.state == CampaignState.ACTIVE.value:
            await self._plan(connection, campaign, now)

    async def _tell(self, connection: Connection, workspace: str, wanted: Watches) -> None:
        version = await self._watches.version(connection)
        in_force = await self._profile.set_watches(workspace, version, wanted)
        if in_force > version:
            # Our tables are older than profile's: they came out of a backup.
            version = await self._watches.overtake(connection, in_force)
            await self._profile.set_watches(workspace, version, wanted)
        await self._watches.told(connection, workspace, wanted.digest)

    async def _plan(self, connection: Connection, stored: StoredCampaign, now: datetime) -> None:
        campaign = Campaign.FromString(stored.spec)
        beginning = to_beginning(stored.campaign, campaign)
        if beginning is None or beginning.date is None:
            return
        starts = from_timestamp(campaign.start_time) if campaign.HasField("start_time") else now
        await self._backfills.begin(
            connection,
            stored.workspace,
            stored.campaign,
            beginning.date.attribute,
            revision=stored.revision,
            begin_time=max(now, starts),
        )
