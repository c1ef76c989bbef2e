"""Decisions and quarantined events as callers see them."""

from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.trigger.v1.quarantine_service_pb2 import QuarantinedEvent
from google.rpc.status_pb2 import Status

from mesh.names import format_name
from services.trigger.convert.sends import send_uid
from services.trigger.convert.times import to_timestamp
from services.trigger.model import DecisionRow, EnrollmentState, QuarantineRow

_STATES = {
    None: Decision.STATE_REFUSED,
    EnrollmentState.WAITING: Decision.STATE_WAITING,
    EnrollmentState.SENDING: Decision.STATE_SENDING,
    EnrollmentState.SENT: Decision.STATE_SENT,
    EnrollmentState.EXITED: Decision.STATE_EXITED,
    # Until delivery has said whether it was in time.
    EnrollmentState.CANCELING: Decision.STATE_SENDING,
}


def to_decision(workspace: str, row: DecisionRow) -> Decision:
    """Return a decision as callers see it."""
    decision = Decision(
        profile=format_name(workspace, "profiles", row.profile),
        campaign=format_name(workspace, "campaigns", row.campaign),
        event_id=row.event_id,
        state=_STATES[None if row.state is None else EnrollmentState(row.state)],
        gates=[
            Decision.Gate(
                name=gate.name,
                passed=gate.passed,
                detail=gate.detail,
                time=to_timestamp(gate.time),
            )
            for gate in row.gates
        ],
        decide_time=to_timestamp(row.decide_time),
        campaign_version=row.campaign_version,
        trace_id=row.trace_id.hex(),
        variant=row.variant,
        item_count=row.item_count,
    )
    if row.due_time is not None:
        due = max(row.due_time, row.wake_time or row.due_time)
        decision.due_time.CopyFrom(to_timestamp(due))
    if row.state == EnrollmentState.SENT:
        origin = row.member or row.profile
        delivery = str(send_uid(row.campaign, origin, row.event_uid, row.channel))
        decision.delivery = format_name(workspace, "deliveries", delivery)
    return decision


def to_quarantined(row: QuarantineRow) -> QuarantinedEvent:
    """Return a quarantined event as callers see it."""
    found = QuarantinedEvent(
        name=format_name(row.workspace, "quarantinedEvents", str(row.id)),
        event_id=row.event_id,
        type=row.type,
        profile=format_name(row.workspace, "profiles", row.profile) if row.profile else "",
        error=Status.FromString(row.error),
        create_time=to_timestamp(row.create_time),
    )
    if row.replay_time is not None:
        found.replay_time.CopyFrom(to_timestamp(row.replay_time))
    return found
