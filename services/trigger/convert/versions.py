"""Versions of campaigns: the wire, and the plan of an earlier one."""

from beckon.trigger.v1 import campaign_service_pb2 as pb

from services.trigger.convert.campaigns import to_campaign
from services.trigger.convert.times import to_timestamp
from services.trigger.model import InFlight, StoredCampaign, StoredVersion

_IN_FLIGHT = {
    pb.IN_FLIGHT_UNSPECIFIED: InFlight.MIGRATE,
    pb.IN_FLIGHT_MIGRATE: InFlight.MIGRATE,
    pb.IN_FLIGHT_FINISH: InFlight.FINISH,
    pb.IN_FLIGHT_EXIT: InFlight.EXIT,
}


def to_in_flight(value: pb.InFlight.ValueType) -> InFlight:
    """Return what is to become of those on their way."""
    return _IN_FLIGHT[value]


def as_of(campaign: StoredCampaign, version: StoredVersion) -> StoredCampaign:
    """Return a campaign as it was by content, as it is by state."""
    return StoredCampaign(
        workspace=version.workspace,
        campaign=version.campaign,
        state=campaign.state,
        spec=version.spec,
        version=version.version,
        revision=campaign.revision,
        create_time=campaign.create_time,
        update_time=version.create_time,
        launch_time=campaign.launch_time,
    )


def to_version(campaign: StoredCampaign, version: StoredVersion) -> pb.CampaignVersion:
    """Return a version as callers see it."""
    return pb.CampaignVersion(
        version=version.version,
        campaign=to_campaign(as_of(campaign, version)),
        create_time=to_timestamp(version.create_time),
        in_flight=pb.InFlight.Value(f"IN_FLIGHT_{version.in_flight.name}"),
        caller=version.caller,
    )
