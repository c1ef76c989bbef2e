"""What callers ask for by `TriggerCampaign`, as events."""

import re
from datetime import datetime
from hashlib import sha256

import msgspec
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.trigger.v1.campaign_service_pb2 import TriggerCampaignRequest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status

from mesh import tracing
from mesh.errors import AlreadyExists, FailedPrecondition, invalid_field, to_rpc_status
from mesh.ids import event_uid
from mesh.names import parse_name
from mesh.structs import whole_numbers
from services.trigger.convert.schedules import REQUESTED
from services.trigger.model import Admitted, Occurrence, Trace

_PROPERTIES_MAX = 32 << 10
# The escape itself, not one behind an escaped backslash. PostgreSQL's text has no NUL.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

Item = TriggerCampaignRequest.Item


def to_event(item: Item, workspace: str, field: str, now: datetime) -> Occurrence:
    """Return the event that an item of a request becomes.

    Raises:
        InvalidArgument: It is of another workspace, or holds too much.
    """
    of, profile = parse_name(item.profile, "profiles", field=f"{field}.profile")
    if of != workspace:
        raise invalid_field(f"{field}.profile", "must be of the campaign's workspace")
    try:
        said = msgspec.json.encode(whole_numbers(MessageToDict(item.properties)))
    except ValueError:
        raise invalid_field(f"{field}.properties", "must hold numbers that JSON has") from None
    if _NUL.search(said):
        raise invalid_field(f"{field}.properties", "must not hold the character U+0000")
    if len(said) > _PROPERTIES_MAX:
        raise invalid_field(f"{field}.properties", f"must have at most {_PROPERTIES_MAX} bytes")
    uid = event_uid(workspace, item.event_id)
    return Occurrence(
        uid=uid,
        event_id=item.event_id,
        type=REQUESTED,
        workspace=workspace,
        profile=profile,
        occur_time=now,
        receive_time=now,
        properties=msgspec.json.decode(said),
        properties_json=said,
        trace=Trace(*tracing.trace_of("", uid)),
    )


def fingerprint(name: str, item: Item) -> bytes:
    """Return what tells one content under an id from another."""
    content = item.SerializeToString(deterministic=True)
    return sha256(name.encode() + b"\0" + content).digest()


def reused(event_id: str) -> Status:
    """Return the answer to an id that stood for something else."""
    return to_rpc_status(
        AlreadyExists(
            ErrorReason.ERROR_REASON_EVENT_ID_REUSED,
            "event_id was used before for a request of other content",
            metadata={"eventId": event_id},
        )
    )


def answer(admitted: Admitted) -> Status:
    """Return what came of an item."""
    if admitted.entered:
        return Status()
    last = admitted.gates[-1]
    return to_rpc_status(
        FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{last.name}: {last.detail}",
            metadata={"gate": last.name},
        )
    )
