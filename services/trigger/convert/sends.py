"""Sends for throttle, deliveries for delivery, and throttle's verdicts."""

from uuid import UUID

from beckon.delivery.v1.delivery_service_pb2 import CreateDeliveryRequest
from beckon.throttle.v1.throttle_service_pb2 import Send, Verdict
from beckon.type.v1.channel_pb2 import Channel
from beckon.type.v1.trace_context_pb2 import TraceContext

from mesh import tracing
from mesh.ids import enrollment_id, send_id
from mesh.names import format_name
from services.trigger.convert.digests import DATA_BYTES_MAX, digest_json
from services.trigger.convert.events import to_data
from services.trigger.convert.times import from_timestamp, to_timestamp
from services.trigger.model import (
    Allowed,
    Deferred,
    DigestContent,
    Enrollment,
    Person,
    Settings,
    Suppressed,
    ThrottleVerdict,
)
from services.trigger.rules import zone_of


def _channel_of(number: int) -> Channel.ValueType:
    return Channel.ValueType(number)


def send_uid(campaign: str, origin: str, event: UUID, channel: int) -> UUID:
    """Return the id of the send of a passage, which is the delivery's too.

    By the id that the passage was begun under: united or parted, she gets no second message.
    """
    return send_id(enrollment_id(event, campaign, origin), Channel.Name(_channel_of(channel)))


def trace_context(passage: Enrollment) -> TraceContext:
    """Return the trace under whose event the next spans hang."""
    trace_id = passage.event.trace.trace_id
    return TraceContext(
        trace_id=trace_id,
        parent_span_id=tracing.span_id(trace_id, "event", passage.event.uid.bytes),
        # What leads to a message is recorded, whatever its caller sampled.
        sampled=True,
    )


def to_send(passage: Enrollment, person: Person, settings: Settings) -> Send:
    """Return what throttle is asked about, by the settings of the workspace."""
    key = passage.key
    return Send(
        send_id=send_uid(key.campaign, passage.origin, passage.event.uid, passage.channel).bytes,
        profile=format_name(key.workspace, "profiles", key.profile),
        channel=_channel_of(passage.channel),
        campaign=format_name(key.workspace, "campaigns", key.campaign),
        critical=passage.critical,
        time_zone=zone_of(person, settings),
        expire_time=to_timestamp(passage.expire_time),
        trace=trace_context(passage),
    )


def to_delivery(
    send: Send, passage: Enrollment, person: Person, digest: DigestContent | None = None
) -> CreateDeliveryRequest:
    """Return what delivery is asked to carry out; of a digest with what its window holds."""
    return CreateDeliveryRequest(
        delivery_id=send.send_id,
        profile=send.profile,
        campaign=send.campaign,
        channel=send.channel,
        template=format_name(passage.key.workspace, "templates", passage.template),
        data_json=_data(passage, person, digest),
        expire_time=send.expire_time,
        trace=send.trace,
        broadcast=b"" if passage.broadcast is None else passage.broadcast.bytes,
    )


def _data(passage: Enrollment, person: Person, digest: DigestContent | None) -> bytes:
    if digest is None:
        return to_data(passage.event, person)
    # The first one may have been taken out again.
    event = digest.latest[0].event if digest.latest else passage.event
    room = DATA_BYTES_MAX - len(to_data(event, person)) - len(b'"digest":,')
    return to_data(event, person, digest_json(digest, room))


def to_verdict(verdict: Verdict) -> ThrottleVerdict:
    """Return what throttle said."""
    match verdict.WhichOneof("answer"):
        case "allow":
            return Allowed()
        case "defer":
            said = verdict.defer
            return Deferred(from_timestamp(said.until), said.gate, said.detail)
        case "suppress":
            return Suppressed(verdict.suppress.gate, verdict.suppress.detail)
        case _:
            message = "throttle gave no verdict"
            raise ValueError(message)
