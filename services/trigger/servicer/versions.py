"""What campaigns were: kept with every change, listed, gone back to; and who is on the way."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.callers import current_caller
from mesh.clock import Clock
from mesh.errors import NotFound
from mesh.names import parse_name
from mesh.pages import PageTokens, page_size
from mesh.postgres import Connection
from services.trigger.convert.times import to_timestamp
from services.trigger.convert.versions import to_version
from services.trigger.model import InFlight, Move, StoredCampaign, StoredVersion
from services.trigger.rules import after_change, version_after
from services.trigger.store import CampaignStore, VersionStore
from services.trigger.store.versions import keep_move, keep_version


class Versions:
    """Keeps every version of a campaign, with who made it."""

    def __init__(
        self, campaigns: CampaignStore, store: VersionStore, tokens: PageTokens, clock: Clock
    ) -> None:
        """Keep versions beside the campaigns."""
        self._campaigns = campaigns
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def create(self, connection: Connection, campaign: StoredCampaign) -> bool:
        """Keep a new campaign and its first version; False when the id is taken."""
        if not await self._campaigns.insert(connection, campaign):
            return False
        await keep_version(connection, _version_of(campaign, InFlight.MIGRATE))
        return True

    def changed(self, stored: StoredCampaign, spec: bytes, in_flight: InFlight) -> StoredCampaign:
        """Return a campaign with new content, as it is to stand."""
        version = stored.version + 1
        migrate_version, exit_version = after_change(stored.past, version, in_flight)
        return replace(
            stored,
            spec=spec,
            version=version,
            update_time=self._clock.now(),
            migrate_version=migrate_version,
            exit_version=exit_version,
        )

    async def change(
        self, connection: Connection, campaign: StoredCampaign, in_flight: InFlight
    ) -> StoredCampaign:
        """Write what `changed` returned, in the transaction that has locked the campaign."""
        await keep_version(connection, _version_of(campaign, in_flight))
        return await self._campaigns.update(connection, campaign)

    async def move(self, connection: Connection, moved: StoredCampaign) -> StoredCampaign:
        """Write a campaign that came into another state."""
        move = Move(moved.update_time, moved.state, _caller())
        await keep_move(connection, moved.workspace, moved.campaign, move)
        return await self._campaigns.update(connection, moved)

    async def send_out(self, campaign: Campaign, in_flight: InFlight) -> None:
        """Have those leave now who were on their way, if the change says so.

        Should this not come to its end, the others leave when their time comes.
        """
        if in_flight is InFlight.EXIT:
            workspace, id_ = parse_name(campaign.name, "campaigns")
            now = self._clock.now()
            await self._store.send_out(workspace, id_, campaign.version, now)

    async def list(
        self,
        request: pb.ListCampaignVersionsRequest,
        get: Callable[[str], Awaitable[StoredCampaign]],
    ) -> pb.ListCampaignVersionsResponse:
        """Return a page of versions; `get` returns the campaign of a name, or refuses."""
        size = page_size(request.page_size)
        last = self._tokens.read(request)
        campaign = await get(request.name)
        found = await self._store.page(
            campaign.workspace,
            campaign.campaign,
            before=int(str(last[0])) if last else None,
            limit=size + 1,
        )
        response = pb.ListCampaignVersionsResponse(
            versions=[to_version(campaign, one) for one in found[:size]]
        )
        if len(found) > size:
            last_version = str(found[size - 1].version)
            response.next_page_token = self._tokens.write(request, (last_version,))
        return response

    async def get(self, name: str, version: int) -> StoredVersion:
        """Return a version of a campaign.

        Raises:
            NotFound: There is none, or it is kept no more.
        """
        workspace, campaign = parse_name(name, "campaigns")
        found = await self._store.get(workspace, campaign, version)
        if found is None:
            raise NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
                f"{name} has no version {version}",
                metadata={"resourceName": name},
            )
        return found

    async def traffic(self, campaign: StoredCampaign) -> pb.CampaignTraffic:
        """Count who is on the way through a campaign."""
        crowds = await self._store.traffic(campaign.workspace, campaign.campaign)
        traffic = pb.CampaignTraffic(
            waiting_count=sum(one.waiting_count for one in crowds),
            sending_count=sum(one.sending_count for one in crowds),
        )
        for one in crowds:
            if one.waiting_count:
                # Who was sent out leaves within moments: by the version that she has.
                version = version_after(campaign.past, one.version) or one.version
                traffic.waiting_by_version[version] += one.waiting_count
        due = [one.next_due_time for one in crowds if one.next_due_time is not None]
        if due:
            traffic.next_due_time.CopyFrom(to_timestamp(min(due)))
        return traffic


def _version_of(campaign: StoredCampaign, in_flight: InFlight) -> StoredVersion:
    return StoredVersion(
        workspace=campaign.workspace,
        campaign=campaign.campaign,
        version=campaign.version,
        spec=campaign.spec,
        create_time=campaign.update_time,
        in_flight=in_flight,
        caller=_caller(),
    )


def _caller() -> str:
    caller = current_caller()
    return caller.name if caller is not None else ""
