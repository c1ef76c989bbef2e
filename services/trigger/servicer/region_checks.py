"""That the regions are there whose borders begin a campaign."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import FailedPrecondition, invalid_field
from mesh.names import format_name
from mesh.postgres import Connection
from services.trigger.convert.regions import COLLECTION, regions_of
from services.trigger.store import RegionStore


async def require_regions(
    store: RegionStore, connection: Connection, workspace: str, campaign: Campaign
) -> None:
    """Raise InvalidArgument unless all regions that a campaign is saved with are there."""
    asked = regions_of(campaign)
    missing = await store.missing(connection, workspace, asked) if asked else []
    if missing:
        names = list(campaign.trigger.region.regions)
        index = names.index(format_name(workspace, COLLECTION, missing[0]))
        raise invalid_field(
            f"campaign.trigger.region.regions[{index}]", "does not exist", reason="missing"
        )


async def require_still(
    store: RegionStore, connection: Connection, workspace: str, campaign: Campaign
) -> None:
    """Raise FailedPrecondition unless all regions that a campaign was saved with are there still.

    They stay until the transaction ends, so that none is removed while the campaign is launched.
    """
    asked = regions_of(campaign)
    missing = await store.missing(connection, workspace, asked) if asked else []
    if missing:
        region = format_name(workspace, COLLECTION, missing[0])
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{campaign.name} names {region}, which does not exist any more",
            metadata={
                "resourceName": campaign.name,
                "state": f"names {region}",
                "allowedStates": "all its regions exist",
            },
        )
