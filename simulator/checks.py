"""Whether what a file describes can be played at all."""

from datetime import UTC, datetime

from beckon.profile.v1.segment_service_pb2 import Segment
from beckon.profile.v1.trait_service_pb2 import Trait
from beckon.throttle.v1.frequency_cap_service_pb2 import FrequencyCap
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.trigger.v1.region_service_pb2 import Region
from google.protobuf.message import Message

from services.profile.convert.traits import declared
from services.throttle.convert import frequency_cap
from simulator.engine import Engine
from simulator.watches import watch_of_segment

_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def check_resource(identifier: str, message: Message) -> None:
    """Make of a resource what it is played as.

    Raises:
        MeshError: It is not what services would take.
    """
    match message:
        case Campaign():
            Engine(_ANY_TIME).put_campaign(identifier, message)
        case Segment():
            watch_of_segment(identifier, message)
        case Region():
            Engine(_ANY_TIME).add_region(identifier, message)
        case Trait():
            declared(message)
        case FrequencyCap():
            frequency_cap(message)
        case _:
            pass
