"""Broadcasts: of events and of planned times, and as callers see them."""

from dataclasses import replace
from uuid import UUID, uuid5

import msgspec
from beckon.trigger.v1 import broadcast_service_pb2 as pb

from mesh import tracing
from mesh.ids import event_uid
from mesh.names import format_name
from services.trigger.convert.schedules import SCHEDULED
from services.trigger.convert.times import to_timestamp
from services.trigger.model import (
    Broadcast,
    BroadcastState,
    Occurrence,
    Person,
    Plan,
    Planned,
    Tally,
    Telling,
    Trace,
)
from services.trigger.rules.schedules import PLANNED_TIME

# Names of broadcasts, for ever: what is planned or told twice is the same.
_BROADCASTS = UUID("5b6f4a0e-2f0c-5d3b-8a67-1f4f2f9b7c11")


def told(telling: Telling) -> Broadcast:
    """Return the broadcast of an event that is told to all who are related."""
    event = telling.event
    return Broadcast(
        id=uuid5(_BROADCASTS, f"{event.uid}/{telling.campaign}"),
        campaign=telling.campaign,
        state=BroadcastState.RUNNING,
        planned=False,
        event=event,
        start_time=event.receive_time,
    )


def planned(plan: Plan, time: Planned) -> Broadcast:
    """Return the broadcast of a planned time of a campaign."""
    name = f"{plan.workspace}/{plan.campaign}/{time.start_time.isoformat()}"
    id_ = uuid5(_BROADCASTS, name)
    event_id = f"broadcast-{id_}"
    uid = event_uid(plan.workspace, event_id)
    properties = {PLANNED_TIME: time.civil, "broadcast": str(id_)}
    event = Occurrence(
        uid=uid,
        event_id=event_id,
        type=SCHEDULED,
        workspace=plan.workspace,
        profile="",
        occur_time=time.start_time,
        receive_time=time.start_time,
        properties=properties,
        properties_json=msgspec.json.encode(properties),
        trace=Trace(*tracing.trace_of("", uid)),
    )
    return Broadcast(
        id=id_,
        campaign=plan.campaign,
        state=BroadcastState.PLANNED,
        planned=True,
        event=event,
        start_time=time.start_time,
    )


def event_for(broadcast: Broadcast, person: Person) -> Occurrence:
    """Return the event that somebody's passage begins with; of a schedule it is her own."""
    if not broadcast.planned:
        return broadcast.event
    # A trace each: of a million messages in one nobody could look at any.
    trace_id = uuid5(broadcast.id, person.profile).bytes
    trace = replace(broadcast.event.trace, trace_id=trace_id)
    return replace(broadcast.event, profile=person.profile, trace=trace)


def to_broadcast(broadcast: Broadcast, account: pb.Broadcast.Account | None = None) -> pb.Broadcast:
    """Return a broadcast as callers see it."""
    workspace = broadcast.event.workspace
    message = pb.Broadcast(
        name=f"{format_name(workspace, 'campaigns', broadcast.campaign)}/broadcasts/{broadcast.id}",
        state=pb.Broadcast.State.ValueType(int(broadcast.state)),
        start_time=to_timestamp(broadcast.start_time),
        event_id="" if broadcast.planned else broadcast.event.event_id,
        counted=broadcast.counted,
        error=broadcast.error,
    )
    if broadcast.end_time is not None:
        message.end_time.CopyFrom(to_timestamp(broadcast.end_time))
    if account is not None:
        message.account.CopyFrom(account)
    return message


def to_account(tally: Tally, sent: int, failed: dict[str, int]) -> pb.Broadcast.Account:
    """Return where everybody is.

    Who was sent a message under two ids, and turned out to be one person, was two people of the
    audience; who was sent one and is erased was one, as long as delivery has it.

    Args:
        tally: counted after the deliveries were: whose delivery is counted is in it.
        sent: deliveries that a provider accepted.
        failed: those that could not be sent, by reason.
    """
    over = sent + sum(failed.values()) + sum(tally.suppressed.values())
    audience = max(tally.audience, over)
    return pb.Broadcast.Account(
        audience_count=audience,
        sent_count=sent,
        suppressed=tally.suppressed,
        failed=failed,
        pending_count=audience - over,
    )
