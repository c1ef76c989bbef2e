"""Places on earth: kept, changed and removed."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1 import region_service_pb2 as pb
from beckon.trigger.v1 import region_service_pb2_grpc as rpc
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.clock import Clock
from mesh.errors import Aborted, FailedPrecondition, NotFound
from mesh.interceptors.validate import check_message
from mesh.masks import apply_update
from mesh.names import format_name, parse_name, workspace_of
from mesh.pages import PageTokens, page_size
from mesh.postgres import Connection
from services.trigger.convert.regions import (
    COLLECTION,
    check_region,
    etag_of,
    regions_of,
    stored_spec,
    to_region,
)
from services.trigger.model import CampaignState, StoredRegion
from services.trigger.store import RegionStore
from services.trigger.store.regions import InForce

REGIONS_MAX = 10_000


class RegionServicer(rpc.RegionServiceServicer):
    def __init__(self, store: RegionStore, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def GetRegion(self, request: pb.GetRegionRequest, context: object) -> pb.Region:
        async with self._store.database.connection() as connection:
            stored = await self._store.get(connection, *parse_name(request.name, COLLECTION))
        if stored is None:
            raise _missing(request.name)
        return to_region(stored)

    async def ListRegions(
        self, request: pb.ListRegionsRequest, context: object
    ) -> pb.ListRegionsResponse:
        size = page_size(request.page_size)
        last = self._tokens.read(request)
        found = await self._store.page(
            workspace_of(request.parent), after=str(last[0]) if last else "", limit=size + 1
        )
        response = pb.ListRegionsResponse(regions=[to_region(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = self._tokens.write(request, (found[size - 1].region,))
        return response

    async def UpdateRegion(self, request: pb.UpdateRegionRequest, context: object) -> pb.Region:
        workspace, region = parse_name(request.region.name, COLLECTION, field="region.name")
        now = self._clock.now()
        async with self._store.database.transaction() as connection:
            stored = await self._store.get(connection, workspace, region, lock=True)
            if stored is None:
                count = await self._store.count(connection, workspace)
                # Somebody may have made it while this waited for its turn to count.
                stored = await self._store.get(connection, workspace, region, lock=True)
                if stored is None:
                    _require_may_create(request, count)
            spec = stored_spec(_merged(request, stored))
            if stored is None:
                made = await self._store.insert(connection, workspace, region, spec, now)
            elif stored.spec == spec:
                return to_region(stored)
            else:
                made = await self._store.update(connection, stored, spec, now)
            if await self._named_by(connection, workspace, region):
                await self._store.announce(connection)
            return to_region(made)

    async def DeleteRegion(self, request: pb.DeleteRegionRequest, context: object) -> Empty:
        workspace, region = parse_name(request.name, COLLECTION)
        async with self._store.database.transaction() as connection:
            # Who launches a campaign that names it holds it meanwhile: one of the two is first.
            stored = await self._store.get(connection, workspace, region, lock=True)
            if stored is None:
                if request.allow_missing:
                    return Empty()
                raise _missing(request.name)
            named_by = await self._named_by(connection, workspace, region)
            for one in named_by:
                if one.state is CampaignState.ACTIVE:
                    raise _in_use(request.name, format_name(workspace, "campaigns", one.campaign))
            await self._store.delete(connection, stored)
            if named_by:
                await self._store.announce(connection)
        return Empty()

    async def _named_by(self, connection: Connection, workspace: str, region: str) -> list[InForce]:
        """Return the campaigns in force that a region is a part of."""
        name = format_name(workspace, COLLECTION, region)
        # Others may hold a longer name that begins alike.
        return [
            one
            for one in await self._store.in_force_with(connection, workspace, name)
            if region in regions_of(Campaign.FromString(one.spec))
        ]


def _merged(request: pb.UpdateRegionRequest, stored: StoredRegion | None) -> pb.Region:
    """Return the region as it shall be, valid.

    Only the result is held to the schema's rules: a change of one field need not bring the others.
    """
    patch = pb.Region()
    patch.CopyFrom(request.region)
    patch.ClearField("etag")
    if stored is None:
        before, mask = pb.Region(name=patch.name), FieldMask(paths=["*"])
    else:
        _require_current(request.region, stored)
        before, mask = to_region(stored), request.update_mask
    merged, _ = apply_update(before, patch, mask)
    check_message(pb.UpdateRegionRequest(region=merged))
    check_region(merged)
    return merged


def _require_current(asked: pb.Region, stored: StoredRegion) -> None:
    if asked.etag and asked.etag != etag_of(stored):
        raise _etag_mismatch(asked.name, "has changed since it was read")


def _require_may_create(request: pb.UpdateRegionRequest, count: int) -> None:
    name = request.region.name
    if not request.allow_missing:
        raise _missing(name)
    if request.region.etag:
        raise _etag_mismatch(name, "is gone, and the etag is of one that was there")
    if count >= REGIONS_MAX:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"a workspace has at most {REGIONS_MAX} regions; delete one first",
            metadata={
                "resourceName": name,
                "state": f"{count} regions",
                "allowedStates": f"fewer than {REGIONS_MAX} regions",
            },
        )


def _etag_mismatch(name: str, why: str) -> Aborted:
    return Aborted(
        ErrorReason.ERROR_REASON_ETAG_MISMATCH, f"{name} {why}", metadata={"resourceName": name}
    )


def _missing(name: str) -> NotFound:
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such region: {name}",
        metadata={"resourceName": name},
    )


def _in_use(name: str, by: str) -> FailedPrecondition:
    return FailedPrecondition(
        ErrorReason.ERROR_REASON_STATE_FORBIDS,
        f"{name} is named by {by}, which is ACTIVE; pause or change it first",
        metadata={"resourceName": name, "state": f"named by {by}", "allowedStates": "not named"},
    )
