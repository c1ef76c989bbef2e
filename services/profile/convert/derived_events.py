"""Events that profile writes itself, on the wire."""

from beckon.ingest.v1.event_pb2 import Event

from mesh.names import format_name
from services.profile.model.changes import DerivedEvent


def event(owed: DerivedEvent) -> Event:
    """Return what the log is to hold."""
    message = Event(
        event_id=owed.event_id,
        type=owed.type,
        profile=format_name(owed.workspace, "profiles", owed.profile_id),
        properties_json=owed.properties.encode(),
    )
    message.occur_time.FromMicroseconds(owed.occur_us)
    return message
