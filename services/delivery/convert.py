"""Between the wire and the model."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

import msgspec
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.delivery.v1 import template_service_pb2 as template_pb
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1 import event_pb2
from beckon.throttle.v1 import throttle_service_pb2 as throttle_pb
from beckon.type.v1.channel_pb2 import Channel as ChannelPb
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import FieldViolation, InvalidArgument, MeshError, NotFound, invalid_field
from mesh.ids import uuid_of
from mesh.names import format_name, parse_name
from mesh.structs import whole_numbers
from services.delivery.model import (
    Channel,
    Delivery,
    Ending,
    NewDelivery,
    Source,
    State,
    TemplateRecord,
)

BATCH_MAX = 1000
# An event of 32 KiB of properties and a profile of 64 KiB of attributes and 512 counters, and room.
DATA_BYTES_MAX = 192 << 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Year 9999: the last that a datetime, and a Timestamp, can name.
_SECONDS_MAX = 253_402_300_799

_KINDS = {
    State.SENT: "message_sent",
    State.FAILED: "message_failed",
    State.UNKNOWN: "message_unknown",
    State.CANCELED: "message_canceled",
    State.EXPIRED: "message_expired",
}
# What may have reached the person counts.
_COUNTS = frozenset({State.SENT, State.UNKNOWN})
_CHANNELS = {channel.value: channel.name.lower() for channel in Channel}


def new_deliveries(requests: Sequence[pb.CreateDeliveryRequest]) -> list[NewDelivery]:
    """Return the deliveries of a batch by id, checked.

    Raises:
        InvalidArgument: Naming every bad field of every item.
    """
    check_batch("requests", len(requests))
    found: dict[UUID, NewDelivery] = {}
    violations: list[FieldViolation] = []
    for index, request in enumerate(requests):
        try:
            delivery = _new_delivery(request)
        except MeshError as error:
            violations += [
                FieldViolation(f"requests[{index}].{one.field}", one.description, one.reason)
                for one in error.violations
            ]
        else:
            found.setdefault(delivery.delivery_id, delivery)
    if violations:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_FIELD_INVALID,
            f"{violations[0].field}: {violations[0].description}",
            violations=violations,
        )
    # In one order everywhere, so that two batches cannot wait for each other.
    return sorted(found.values(), key=lambda delivery: delivery.delivery_id)


def _new_delivery(request: pb.CreateDeliveryRequest) -> NewDelivery:
    workspace, profile = parse_name(request.profile, "profiles", field="profile")
    campaign = _id_in(workspace, request.campaign, "campaigns", "campaign")
    template = _id_in(workspace, request.template, "templates", "template")
    if request.channel not in _CHANNELS:
        raise invalid_field("channel", "must be EMAIL or WEBHOOK", reason="enum")
    data = request.data_json
    if len(data) > DATA_BYTES_MAX:
        raise invalid_field("data_json", f"must be at most {DATA_BYTES_MAX} bytes", reason="size")
    if not data.startswith(b"{"):
        raise invalid_field("data_json", "must be a JSON object", reason="json")
    trace = request.trace
    return NewDelivery(
        delivery_id(request.delivery_id),
        workspace,
        profile,
        campaign,
        template,
        request.channel,
        _instant(request.expire_time, "expire_time"),
        trace.trace_id if len(trace.trace_id) == 16 else None,
        trace.parent_span_id if len(trace.parent_span_id) == 8 else None,
        trace.sampled,
        data,
        delivery_id(request.broadcast, field="broadcast") if request.broadcast else None,
    )


def counts(found: Mapping[tuple[State, str], int]) -> pb.CountDeliveriesResponse:
    """Return the counts of a broadcast; what was cancelled or is under way is neither."""
    response = pb.CountDeliveriesResponse()
    for (state, reason), count in found.items():
        match state:
            case State.SENT:
                response.sent_count += count
            case State.FAILED:
                response.failed[reason or "failed"] += count
            case State.UNKNOWN | State.EXPIRED:
                response.failed[state.name.lower()] += count
            case _:
                pass
    return response


def delivery_id(value: bytes, *, field: str = "delivery_id") -> UUID:
    """Return the id."""
    if len(value) != 16:
        raise invalid_field(field, "must be a UUID of 16 bytes", reason="uuid")
    return uuid_of(value)


def check_batch(field: str, got: int) -> None:
    """Refuse an empty batch, and one that is too large."""
    if got > BATCH_MAX:
        raise InvalidArgument(
            ErrorReason.ERROR_REASON_BATCH_TOO_LARGE,
            f"{field}: at most {BATCH_MAX} a call, got {got}",
            metadata={"limit": str(BATCH_MAX), "got": str(got)},
        )
    if not got:
        raise invalid_field(field, "must hold at least one", reason="repeated.min_items")


@lru_cache(maxsize=10_000)
def _id_in(workspace: str, name: str, collection: str, field: str) -> str:
    theirs, identifier = parse_name(name, collection, field=field)
    if theirs != workspace:
        raise invalid_field(field, "must be of the profile's workspace", reason="workspace")
    return identifier


def _instant(timestamp: Timestamp, field: str) -> datetime:
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if not 0 < seconds <= _SECONDS_MAX or not 0 <= nanos < 1_000_000_000:
        raise invalid_field(field, "must be an instant from 1970 to 9999", reason="timestamp")
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def canceled_items(
    items: Sequence[pb.BatchCancelDeliveriesRequest.Item],
) -> list[tuple[UUID, str, str]]:
    """Return (delivery, workspace, profile) of each item."""
    check_batch("items", len(items))
    return [
        (
            delivery_id(item.delivery_id, field=f"items[{index}].delivery_id"),
            *parse_name(item.profile, "profiles", field=f"items[{index}].profile"),
        )
        for index, item in enumerate(items)
    ]


def delivery_name(name: str, *, field: str = "name") -> tuple[str, UUID]:
    """Return workspace and id of a delivery's name."""
    workspace, identifier = parse_name(name, "deliveries", field=field)
    try:
        return workspace, UUID(identifier)
    except ValueError:
        raise invalid_field(field, "must end with a UUID", reason="uuid") from None


def delivery(found: Delivery) -> pb.Delivery:
    """Return a delivery as it is shown."""
    workspace = found.workspace
    shown = pb.Delivery(
        name=format_name(workspace, "deliveries", str(found.delivery_id)),
        profile=format_name(workspace, "profiles", found.profile),
        # Cancelled in advance: of what is not known yet.
        campaign=format_name(workspace, "campaigns", found.campaign) if found.campaign else "",
        template=format_name(workspace, "templates", found.template) if found.template else "",
        channel=ChannelPb.ValueType(found.channel),
        state=pb.Delivery.State.ValueType(found.state),
        attempt_count=found.attempt_count,
        error=found.error,
        provider_message_id=found.provider_message_id,
        trace_id=found.trace_id.hex() if found.trace_id else "",
    )
    shown.create_time.FromDatetime(found.create_time)
    shown.expire_time.FromDatetime(found.expire_time)
    if found.due_time is not None:
        shown.next_attempt_time.FromDatetime(found.due_time)
    if found.send_time is not None:
        shown.send_time.FromDatetime(found.send_time)
    return shown


def settlement(ending: Ending) -> throttle_pb.Settlement:
    """Return what throttle hears of an end."""
    return throttle_pb.Settlement(
        send_id=ending.delivery_id.bytes,
        profile=format_name(ending.workspace, "profiles", ending.profile),
        outcome=throttle_pb.Settlement.OUTCOME_COMMITTED
        if ending.state in _COUNTS
        else throttle_pb.Settlement.OUTCOME_RELEASED,
    )


def receipt(ending: Ending) -> event_pb2.Event:
    """Return an end as an event; the same end is the same event."""
    kind = _KINDS[ending.state]
    key = str(ending.delivery_id)
    properties = {
        "delivery": key,
        "campaign": ending.campaign,
        "channel": _CHANNELS.get(ending.channel, ""),
    }
    event = event_pb2.Event(
        event_id=f"{kind}:{key}:{ending.round}" if ending.round else f"{kind}:{key}",
        type=kind,
        profile=format_name(ending.workspace, "profiles", ending.profile),
        properties_json=msgspec.json.encode(properties),
    )
    event.occur_time.FromDatetime(ending.time)
    return event


def content_of(template: template_pb.Template) -> bytes:
    """Return what is kept of a template: all that its owner says."""
    kept = template_pb.Template()
    kept.CopyFrom(template)
    for field in ("name", "etag", "update_time"):
        kept.ClearField(field)
    return kept.SerializeToString(deterministic=True)


def template(record: TemplateRecord) -> template_pb.Template:
    """Return a template as it is shown."""
    shown = template_pb.Template.FromString(record.content)
    shown.name = format_name(record.workspace, "templates", record.template)
    shown.etag = record.etag
    shown.update_time.FromDatetime(record.update_time)
    return shown


def source(content: bytes) -> Source:
    """Return a template's texts."""
    kept = template_pb.Template.FromString(content)
    return source_of(kept)


def source_of(kept: template_pb.Template) -> Source:
    """Return a template's texts."""
    defaults = {
        path: whole_numbers(MessageToDict(value)) for path, value in sorted(kept.defaults.items())
    }
    return Source(
        sender=kept.email.sender,
        subject=kept.email.subject,
        text=kept.email.text,
        html=kept.email.html,
        url=kept.webhook.url,
        body=kept.webhook.body,
        defaults_json=msgspec.json.encode(defaults),
    )


def not_found(name: str, kind: str) -> NotFound:
    """Return the error for what is not there."""
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such {kind}",
        metadata={"resourceName": name},
    )


def etag(content: bytes, update_time: datetime) -> str:
    """Return what changes with every change of a template."""
    stamp = update_time.isoformat().encode()
    return blake2b(stamp + content, digest_size=12).hexdigest()
