"""Events of the log, standings of profile, and what delivery renders."""

from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid5

import msgspec
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1.observation_service_pb2 import Standing
from google.rpc.status_pb2 import Status

from mesh import tracing
from mesh.errors import Internal, InvalidArgument, MeshError, to_rpc_status
from mesh.ids import event_uid
from mesh.names import workspace_of
from services.trigger.convert.times import from_us
from services.trigger.model import Occurrence, Person, Quarantined, QuarantineRow, Trace

_V = TypeVar("_V")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_properties = msgspec.json.Decoder(dict[str, Any])
# All of them doubles: an expression multiplies no whole number with one that is not.
_traits = msgspec.json.Decoder(dict[str, float])
_encoder = msgspec.json.Encoder()
_NOTHING: Mapping[str, Any] = {}
# Names of things that are quarantined; for ever, as names of events are.
_QUARANTINE = UUID("a7c1d0b4-58f2-5c0e-8d77-9a52f6f1c3e9")
# Of records that do not even tell theirs: a place where an operator can list them.
_NO_WORKSPACE = "unreadable"
_WORKSPACE_TAG = 0x0A
_WORKSPACE_MAX = 63


class _Lazily(Mapping[str, _V]):
    """A mapping that is made when somebody looks into it: of most people nobody does."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Mapping[str, _V]]) -> None:
        self._make = make
        self._made: Mapping[str, _V] | None = None

    def _all(self) -> Mapping[str, _V]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> _V:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def items(self) -> ItemsView[str, _V]:
        return self._all().items()


def to_occurrence(record: LogRecord, event: Event) -> Occurrence:
    """Return an event of a record as judging sees it.

    Raises:
        ValueError: Its properties are no JSON object, or a time is beyond what there is.
    """
    received = from_us(record.receive_time_us)
    if event.HasField("occur_time"):
        stamp = event.occur_time
        occurred = _EPOCH + timedelta(
            seconds=stamp.seconds, microseconds=stamp.nanos // 1000 + record.clock_offset_us
        )
    else:
        occurred = received
    uid = event_uid(record.workspace, event.event_id)
    trace_id, parent, sampled = tracing.trace_of(event.traceparent, uid)
    raw = event.properties_json
    return Occurrence(
        uid=uid,
        event_id=event.event_id,
        type=event.type,
        workspace=record.workspace,
        profile=profile_of(event),
        occur_time=occurred,
        receive_time=received,
        properties=_properties.decode(raw) if raw else _NOTHING,
        properties_json=raw or b"{}",
        trace=Trace(trace_id, parent, sampled),
    )


def profile_of(event: Event) -> str:
    """Return the id of the profile that an event is of."""
    return event.profile.rpartition("/")[2]


def named(event: Occurrence, profile: str) -> Occurrence:
    """Return the event as of a person who goes by `profile`; it keeps the id it came under."""
    if event.profile == profile:
        return event
    origin = event.member or event.profile
    return replace(event, profile=profile, member="" if origin == profile else origin)


def traced(record: LogRecord, event: Event) -> Occurrence:
    """Return as much of an event as its trace shows."""
    received = from_us(record.receive_time_us)
    uid = event_uid(record.workspace, event.event_id)
    return Occurrence(
        uid=uid,
        event_id=event.event_id,
        type=event.type,
        workspace=record.workspace,
        profile="",
        occur_time=received,
        receive_time=received,
        properties=_NOTHING,
        properties_json=b"",
        trace=Trace(*tracing.trace_of(event.traceparent, uid)),
    )


def to_person(profile: str, standing: Standing) -> Person:
    """Return how the person stands whom a profile id names."""
    raw, traits = standing.attributes_json, standing.traits_json
    first, last = standing.first_seen_time_us, standing.last_seen_time_us
    counters = standing.counters
    return Person(
        profile=standing.profile_id or profile,
        attributes=_properties.decode(raw) if raw else _NOTHING,
        counts=_Lazily(lambda: {counter.type: counter.count for counter in counters}),
        last_times=_Lazily(
            lambda: {counter.type: from_us(counter.last_time_us) for counter in counters}
        ),
        time_zone=standing.time_zone,
        locale=standing.locale,
        first_seen_time=from_us(first) if first else None,
        last_seen_time=from_us(last) if last else None,
        attributes_json=raw or b"{}",
        traits=_traits.decode(traits) if traits else _NOTHING,
        traits_json=traits or b"{}",
        members=tuple(standing.member_ids),
    )


def to_data(event: Occurrence, person: Person, digest: bytes = b"") -> bytes:
    """Return what a template is rendered with; what came as JSON is passed on as it came."""
    more = {"digest": msgspec.Raw(digest)} if digest else {}
    return _encoder.encode(
        {
            **more,
            "event": {
                "id": event.event_id,
                "type": event.type,
                "occur_time": event.occur_time,
                "properties": msgspec.Raw(event.properties_json),
            },
            "profile": {
                "id": person.profile,
                "attributes": msgspec.Raw(person.attributes_json),
                "counters": {type_: {"count": count} for type_, count in person.counts.items()},
                "traits": msgspec.Raw(person.traits_json),
                "time_zone": person.time_zone,
                "locale": person.locale,
                "first_seen_time": person.first_seen_time,
                "last_seen_time": person.last_seen_time,
            },
        }
    )


def quarantined_event(
    record: LogRecord,
    event: Event,
    error: Status,
    *,
    observed: bool,
    partition: int,
    now: datetime,
) -> Quarantined:
    """Return an event on its way into quarantine, alone in a record like its own."""
    alone = LogRecord(
        workspace=record.workspace,
        receive_time_us=record.receive_time_us,
        clock_offset_us=record.clock_offset_us,
        events=[event],
    )
    return Quarantined(
        # By content too: two events that fight over one id are two.
        id=uuid5(
            _QUARANTINE, f"{record.workspace}/{alone.SerializeToString(deterministic=True).hex()}"
        ),
        workspace=record.workspace,
        profile=profile_of(event),
        event_id=event.event_id,
        type=event.type,
        error=error.SerializeToString(),
        payload=alone.SerializeToString(),
        observed=observed,
        partition=partition,
        create_time=now,
    )


def quarantined_record(
    payload: bytes, *, partition: int, position: str, now: datetime
) -> Quarantined:
    """Return a record that cannot be read, on its way into quarantine."""
    error = InvalidArgument(
        ErrorReason.ERROR_REASON_FIELD_INVALID, f"the record at {position} cannot be read"
    )
    return Quarantined(
        id=uuid5(_QUARANTINE, f"{partition}/{position}"),
        workspace=_workspace_in(payload),
        error=to_rpc_status(error).SerializeToString(),
        payload=payload,
        observed=False,
        partition=partition,
        create_time=now,
    )


def replayed(row: QuarantineRow) -> tuple[LogRecord, Event]:
    """Return the one event of a quarantined record that profile has observed."""
    record = LogRecord.FromString(row.payload)
    return record, record.events[0]


def bug(error_id: str, failure: Exception) -> Status:
    """Return the status of an event that made judging fail."""
    if isinstance(failure, MeshError):
        return to_rpc_status(failure)
    message = f"judging failed with {type(failure).__name__}"
    return to_rpc_status(
        Internal(ErrorReason.ERROR_REASON_INTERNAL, message, metadata={"errorId": error_id})
    )


def _workspace_in(payload: bytes) -> str:
    """Return the workspace that an unreadable record begins with, if it does."""
    if len(payload) < 2 or payload[0] != _WORKSPACE_TAG or payload[1] > _WORKSPACE_MAX:
        return _NO_WORKSPACE
    text = payload[2 : 2 + payload[1]].decode("ascii", "replace")
    try:
        return workspace_of(f"workspaces/{text}") if len(text) == payload[1] else _NO_WORKSPACE
    except InvalidArgument:
        return _NO_WORKSPACE
