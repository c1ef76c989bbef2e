"""That the regions are there whose borders begin a campaign."""

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1.campaign_service_pb2 import Campaign

from mesh.errors import FailedPrecondition, FieldViolation, InvalidArgument
from mesh.names import format_name
from mesh.postgres import Connection
from services.trigger.convert.regions import COLLECTION, regions_of
from services.trigger.store import RegionStore

_FIELD = "campaign.trigger.region.regions"


async def require_regions(
    store: RegionStore, connection: Connection, workspace: str, campaign: Campaign
) -> None:
    """Raise InvalidArgument unless all regions that a campaign is saved with are there."""
    asked = regions_of(campaign)
    missing = await store.missing(connection, workspace, asked) if asked else []
    if not missing:
        return
    gone = {format_name(workspace, COLLECTION, one) for one in missing}
    violations = [
        FieldViolation(f"{_FIELD}[{index}]", f"{name} does not exist", "missing")
        for index, name in enumerate(campaign.trigger.region.regions)
        if name in gone
    ]
    first = violations[0]
    raise InvalidArgument(
        ErrorReason.ERROR_REASON_FIELD_INVALID,
        f"{first.field}: {first.description}",
        violations=violations,
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
