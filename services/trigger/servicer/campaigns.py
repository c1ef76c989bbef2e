"""Campaigns: kept, changed and moved through their states."""

from collections.abc import Collection
from dataclasses import replace

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as rpc
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.clock import Clock
from mesh.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from mesh.masks import apply_update
from mesh.names import check_resource_id, format_name, parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from mesh.postgres import Connection
from mesh.replies import answer_once
from services.trigger.convert.campaigns import state_of, stored_spec, to_campaign
from services.trigger.convert.versions import to_in_flight
from services.trigger.model import CampaignState, InFlight, StoredCampaign
from services.trigger.servicer.checks import check_campaign
from services.trigger.servicer.region_checks import require_regions, require_still
from services.trigger.servicer.reports import Reports
from services.trigger.servicer.requests import Requests
from services.trigger.servicer.schedule_checks import require_time_to_come
from services.trigger.servicer.versions import Versions
from services.trigger.servicer.watching import Watching
from services.trigger.store import (
    CampaignStore,
    EnrollmentStore,
    RegionStore,
    ReportStore,
    SettingsStore,
    VersionStore,
)

_DRAFT, _ACTIVE = CampaignState.DRAFT.value, CampaignState.ACTIVE.value
_PAUSED, _ARCHIVED = CampaignState.PAUSED.value, CampaignState.ARCHIVED.value
_KEPT = (_DRAFT, _ACTIVE, _PAUSED)


class CampaignServicer(rpc.CampaignServiceServicer):
    def __init__(
        self,
        store: CampaignStore,
        enrollments: EnrollmentStore,
        tokens: PageTokens,
        clock: Clock,
        *,
        watching: Watching,
        requests: Requests,
    ) -> None:
        self._store = store
        self._enrollments = enrollments
        self._regions = RegionStore(store.database)
        self._settings = SettingsStore(store.database)
        self._versions = Versions(store, VersionStore(store.database), tokens, clock)
        self._reports = Reports(ReportStore(store.database))
        self._watching = watching
        self._requests = requests
        self._tokens = tokens
        self._clock = clock

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: object) -> Campaign:
        async with self._store.database.connection() as connection:
            return to_campaign(await self._get(connection, request.name))

    async def ListCampaigns(
        self, request: pb.ListCampaignsRequest, context: object
    ) -> pb.ListCampaignsResponse:
        size = page_size(request.page_size)
        last = self._tokens.read(request)
        states = [state_of(state) for state in request.states] or _KEPT
        after = str(last[0]) if last else ""
        found = await self._store.page(
            workspace_of(request.parent), states, after=after, limit=size + 1
        )
        response = pb.ListCampaignsResponse(campaigns=[to_campaign(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].campaign,))
        return response

    async def CreateCampaign(self, request: pb.CreateCampaignRequest, context: object) -> Campaign:
        workspace = workspace_of(request.parent, field="parent")
        check_resource_id(request.campaign_id, field="campaign_id")
        check_campaign(request.campaign, workspace)
        await self._watching.require_audience(workspace, request.campaign)
        now = self._clock.now()
        campaign = StoredCampaign(
            workspace=workspace,
            campaign=request.campaign_id,
            state=_DRAFT,
            spec=stored_spec(request.campaign),
            version=1,
            revision=1,
            create_time=now,
            update_time=now,
        )
        name = format_name(workspace, "campaigns", request.campaign_id)
        async with self._store.database.connection() as connection:
            if request.validate_only:
                if await self._store.get(connection, workspace, request.campaign_id):
                    raise _exists(name)
                await require_regions(self._regions, connection, workspace, request.campaign)
                return to_campaign(campaign)

            async def create() -> Campaign:
                await require_regions(self._regions, connection, workspace, request.campaign)
                if not await self._versions.create(connection, campaign):
                    raise _exists(name)
                return to_campaign(campaign)

            return await answer_once(connection, request, Campaign, create)

    async def UpdateCampaign(self, request: pb.UpdateCampaignRequest, context: object) -> Campaign:
        in_flight = to_in_flight(request.in_flight)
        async with self._store.database.connection() as connection:

            async def update() -> Campaign:
                stored = await self._get(connection, request.campaign.name, lock=True)
                _allow(stored, _KEPT)
                _check_etag(stored, request.campaign.etag)
                current = to_campaign(stored)
                changed, _ = apply_update(current, request.campaign, request.update_mask)
                new = self._changed(stored, changed, in_flight)
                await require_regions(self._regions, connection, stored.workspace, changed)
                await self._watching.require_audience(stored.workspace, changed)
                if new.version == stored.version or request.validate_only:
                    return to_campaign(new)
                return to_campaign(await self._change(connection, new, in_flight))

            if request.validate_only:
                return await update()
            updated = await answer_once(connection, request, Campaign, update)
        await self._versions.send_out(updated, in_flight)
        return updated

    async def RollbackCampaign(
        self, request: pb.RollbackCampaignRequest, context: object
    ) -> Campaign:
        in_flight = to_in_flight(request.in_flight)
        version = await self._versions.get(request.name, request.version)
        async with self._store.database.transaction() as connection:
            stored = await self._get(connection, request.name, lock=True)
            _allow(stored, _KEPT)
            _check_etag(stored, request.etag)
            content = to_campaign(replace(stored, spec=version.spec))
            new = self._changed(stored, content, in_flight)
            await require_regions(self._regions, connection, stored.workspace, content)
            await self._watching.require_audience(stored.workspace, content)
            if new.version == stored.version:
                return to_campaign(new)
            rolled_back = to_campaign(await self._change(connection, new, in_flight))
        await self._versions.send_out(rolled_back, in_flight)
        return rolled_back

    async def TriggerCampaign(
        self, request: pb.TriggerCampaignRequest, context: object
    ) -> pb.TriggerCampaignResponse:
        async with self._store.database.connection() as connection:
            campaign = to_campaign(await self._get(connection, request.name))
        return await self._requests.trigger(campaign, request)

    async def ListCampaignVersions(
        self, request: pb.ListCampaignVersionsRequest, context: object
    ) -> pb.ListCampaignVersionsResponse:
        return await self._versions.list(request, self._read)

    async def GetCampaignTraffic(
        self, request: pb.GetCampaignTrafficRequest, context: object
    ) -> pb.CampaignTraffic:
        return await self._versions.traffic(await self._read(request.name))

    async def LaunchCampaign(self, request: pb.LaunchCampaignRequest, context: object) -> Campaign:
        return await self._move(request.name, to=_ACTIVE, allowed=(_DRAFT, _PAUSED))

    async def PauseCampaign(self, request: pb.PauseCampaignRequest, context: object) -> Campaign:
        return await self._move(request.name, to=_PAUSED, allowed=(_ACTIVE,))

    async def ArchiveCampaign(
        self, request: pb.ArchiveCampaignRequest, context: object
    ) -> Campaign:
        return await self._move(request.name, to=_ARCHIVED, allowed=_KEPT)

    async def GetCampaignReport(
        self, request: pb.GetCampaignReportRequest, context: object
    ) -> pb.CampaignReport:
        async with self._store.database.connection() as connection:
            stored = await self._get(connection, request.name)
        return await self._reports.of(stored)

    async def _move(self, name: str, *, to: str, allowed: Collection[str]) -> Campaign:
        now = self._clock.now()
        async with self._store.database.transaction() as connection:
            stored = await self._get(connection, name, lock=True)
            if stored.state == to:
                return to_campaign(stored)
            _allow(stored, allowed)
            if to == _ACTIVE:
                await require_still(
                    self._regions, connection, stored.workspace, to_campaign(stored)
                )
                await require_time_to_come(self._settings, connection, stored, now)
            launched = stored.launch_time or (now if to == _ACTIVE else None)
            moved = replace(stored, state=to, update_time=now, launch_time=launched)
            moved = await self._versions.move(connection, moved)
            await self._watching.written(connection, moved, now=now)
        if to != _PAUSED:
            # Those who were held go on as their time comes, and all others leave an archived
            # campaign now. Should this not come to its end, the worker wakes the held ones, and
            # the others leave when their time comes.
            await self._enrollments.wake_held(moved.workspace, moved.campaign, now)
        if to == _ARCHIVED:
            await self._enrollments.wake_all(moved.workspace, moved.campaign, now)
        return to_campaign(moved)

    def _changed(
        self, stored: StoredCampaign, content: Campaign, in_flight: InFlight
    ) -> StoredCampaign:
        """Return a campaign with other content, as it is to stand; itself, if it is no other."""
        check_campaign(content, stored.workspace)
        spec = stored_spec(content)
        return stored if spec == stored.spec else self._versions.changed(stored, spec, in_flight)

    async def _change(
        self, connection: Connection, new: StoredCampaign, in_flight: InFlight
    ) -> StoredCampaign:
        """Write a campaign's new content, in the transaction that has locked it."""
        changed = await self._versions.change(connection, new, in_flight)
        await self._watching.written(connection, changed, now=self._clock.now())
        return changed

    async def _read(self, name: str) -> StoredCampaign:
        async with self._store.database.connection() as connection:
            return await self._get(connection, name)

    async def _get(
        self, connection: Connection, name: str, *, lock: bool = False
    ) -> StoredCampaign:
        workspace, campaign = parse_name(name, "campaigns")
        stored = await self._store.get(connection, workspace, campaign, lock=lock)
        if stored is None:
            raise NotFound(
                ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
                f"{name} does not exist",
                metadata={"resourceName": name},
            )
        return stored


def _allow(stored: StoredCampaign, allowed: Collection[str]) -> None:
    if stored.state not in allowed:
        name = format_name(stored.workspace, "campaigns", stored.campaign)
        states = ", ".join(state.upper() for state in allowed)
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{name} is {stored.state.upper()}; allowed from {states}",
            metadata={
                "resourceName": name,
                "state": stored.state.upper(),
                "allowedStates": states,
            },
        )


def _check_etag(stored: StoredCampaign, etag: str) -> None:
    if etag and etag != str(stored.revision):
        name = format_name(stored.workspace, "campaigns", stored.campaign)
        raise Aborted(
            ErrorReason.ERROR_REASON_ETAG_MISMATCH,
            f"{name} has changed since it was read",
            metadata={"resourceName": name},
        )


def _exists(name: str) -> AlreadyExists:
    return AlreadyExists(
        ErrorReason.ERROR_REASON_RESOURCE_EXISTS,
        f"{name} exists",
        metadata={"resourceName": name},
    )
