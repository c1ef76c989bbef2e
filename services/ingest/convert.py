"""Events on the wire, as columns, as log records, and refusals as statuses."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
import xxhash
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1.event_pb2 import Event
from beckon.ingest.v1.ingest_service_pb2 import IngestEventsRequest, StreamEventsRequest
from beckon.ingest.v1.raw_pb2 import RawEvents, RawLogRecord
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from mesh.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    MeshError,
    PermissionDenied,
    to_rpc_status,
)
from mesh.structs import whole_numbers
from services.ingest.model import Columns, Fault, Violation
from services.ingest.rules import PROPERTIES_BYTES_MAX, PROPERTIES_DEPTH_MAX

Request: TypeAlias = IngestEventsRequest | StreamEventsRequest

_DECODER = msgspec.json.Decoder(dict[str, Any])
_ENCODER = msgspec.json.Encoder(order="deterministic")  # a repeat must have one fingerprint
# The escape itself, not one behind an escaped backslash. PostgreSQL's jsonb has no NUL.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# A number so near to nothing that it counts as 0, which PostgreSQL would write out in thousands
# of digits; or a text that looks like one.
_TINY = re.compile(rb"[0-9.][eE]-[0-9]{3}")
_LEAST_EXPONENT = -400
# Length of a W3C traceparent of version 00. Any other is malformed.
_TRACEPARENT_LENGTH = 55
# Its tag, its length, itself.
_TRACEPARENT_BYTES = 2 + _TRACEPARENT_LENGTH
# An event of valid fields has at most 128 + 63 + 203 characters, 32 KiB of properties, 57 bytes
# of traceparent, 131 of consistency token and some dozens of tags and times.
_EVENT_BYTES_MAX = (32 << 10) + 1024
# A clock that is off by less is as good as ours.
_SKEW_MIN_US = 1_000_000


def columns(events: Sequence[Event]) -> Columns:
    """Return the events as columns; turns a Struct into JSON, drops what is no traceparent."""
    properties = [event.properties_json for event in events]
    faults: dict[int, Violation] = {}
    if b"" in properties:
        _from_structs(events, properties, faults)
    if not _well_formed(properties):
        faults.update(_property_faults(properties, faults))
    traceparents = [event.traceparent for event in events]
    if any(traceparents):
        for index, event in enumerate(events):
            if len(event.traceparent) != _TRACEPARENT_LENGTH:
                event.ClearField("traceparent")
                traceparents[index] = ""
    times = [event.occur_time for event in events]
    tokens = [event.consistency_token for event in events]
    return Columns(
        event_ids=[event.event_id for event in events],
        types=[event.type for event in events],
        profiles=[event.profile for event in events],
        seconds=[time.seconds for time in times],
        nanos=[time.nanos for time in times],
        properties=properties,
        property_faults=faults,
        traced=[bool(traceparent) for traceparent in traceparents] if any(traceparents) else None,
        tokens={index: token for index, token in enumerate(tokens) if token} if any(tokens) else {},
    )


def raw_events(request: Request) -> Sequence[bytes]:
    """Return the events as bytes, in order: what the log takes and fingerprints are made of."""
    raw = RawEvents.FromString(request.SerializeToString()).events
    if max(map(len, raw), default=0) <= _EVENT_BYTES_MAX:
        return raw
    # Fields that no schema of ours knows, perhaps: megabytes that nobody asked for.
    request.DiscardUnknownFields()  # type: ignore[union-attr] # the stubs lack it
    return RawEvents.FromString(request.SerializeToString()).events


def fingerprints(columns: Columns, raw: Sequence[bytes]) -> Sequence[bytes]:
    """Return 8 bytes for each event that tell its content from any other content.

    Traceparent and consistency token are left out: a caller that repeats may have begun
    another trace, and read the profile again. They have the highest field numbers and so are
    written last.
    """
    digest = xxhash.xxh3_64_digest
    if columns.traced is None and not columns.tokens:
        return list(map(digest, raw))
    tails = [_TRACEPARENT_BYTES if traced else 0 for traced in columns.traced or [False] * len(raw)]
    for index, token in columns.tokens.items():
        tails[index] += _token_bytes(token)
    return [
        digest(content[:-tail] if tail else content)
        for content, tail in zip(raw, tails, strict=True)
    ]


def clock_offset_us(send_time: Timestamp | None, now: datetime) -> int:
    """Return what to add to the caller's times, in microseconds; 0 when the clocks agree."""
    if send_time is None:
        return 0
    offset = _microseconds(now) - (send_time.seconds * 1_000_000 + send_time.nanos // 1000)
    return offset if abs(offset) >= _SKEW_MIN_US else 0


def log_record(
    workspace: str, raw: Sequence[bytes], *, receive_time: datetime, offset_us: int
) -> bytes:
    """Return one entry of the log, a serialized `LogRecord`."""
    return RawLogRecord(
        workspace=workspace,
        receive_time_us=_microseconds(receive_time),
        clock_offset_us=offset_us,
        events=raw,
    ).SerializeToString()


def statuses(refused: Mapping[int, Sequence[Violation]], columns: Columns) -> dict[int, Status]:
    """Return the refusals as statuses by index."""
    return {
        index: to_rpc_status(_error(violations, columns.event_ids[index], columns.types[index]))
        for index, violations in refused.items()
    }


def _token_bytes(token: str) -> int:
    """Return how many bytes the token takes: its tag, its length, itself."""
    size = len(token.encode())
    return 1 + _length_bytes(size) + size


def _length_bytes(size: int) -> int:
    """Return how many bytes a protobuf varint of this value takes: seven bits each."""
    return max(1, -(-size.bit_length() // 7))


def _error(violations: Sequence[Violation], event_id: str, event_type: str) -> MeshError:
    fields = [FieldViolation(v.field, v.description, v.rule) for v in violations]
    message = "; ".join(f"{v.field} {v.description}" for v in violations)
    match violations[0].fault:
        case Fault.ID_REUSED:
            return AlreadyExists(
                ErrorReason.ERROR_REASON_EVENT_ID_REUSED,
                message,
                metadata={"eventId": event_id},
                violations=fields,
            )
        case Fault.TOO_LARGE:
            return InvalidArgument(
                ErrorReason.ERROR_REASON_TOO_LARGE,
                message,
                metadata={"limitBytes": str(PROPERTIES_BYTES_MAX)},
                violations=fields,
            )
        case Fault.TYPE_RESERVED:
            return PermissionDenied(
                ErrorReason.ERROR_REASON_EVENT_TYPE_RESERVED,
                message,
                metadata={"type": event_type},
                violations=fields,
            )
        case Fault.FIELD_INVALID:
            return InvalidArgument(
                ErrorReason.ERROR_REASON_FIELD_INVALID, message, violations=fields
            )


def _from_structs(
    events: Sequence[Event], properties: list[bytes], faults: dict[int, Violation]
) -> None:
    for index, event in enumerate(events):
        if properties[index]:
            continue
        form = event.WhichOneof("properties_form")
        if form == "properties":
            try:
                properties[index] = _json_of(event.properties)
            except (SerializeToJsonError, ValueError, RecursionError):
                faults[index] = _BAD_NUMBER
            event.properties_json = properties[index]
        elif form == "properties_json":
            # Present but empty says the same as absent.
            event.ClearField("properties_json")


def _json_of(struct: Struct) -> bytes:
    return _ENCODER.encode(whole_numbers(MessageToDict(struct))) if struct.fields else b""


def _well_formed(properties: Sequence[bytes]) -> bool:
    """Read all properties in one go; True only if each is a JSON object within bounds.

    One value a line: each begins with a brace, none can reach over a line's end
    (a raw line break is no part of a JSON string, and nothing but a comma joins
    values), and there are as many values as lines.
    """
    given = [value for value in properties if value]
    if not given:
        return True
    joined = b"\n".join(given)
    if b"\\u0000" in joined or any(value[0] != 123 for value in given):
        return False
    # Each has one opening at least: only with so many more can one of them be too deep.
    if (
        joined.count(b"{") + joined.count(b"[") >= len(given) + PROPERTIES_DEPTH_MAX
        and max([value.count(b"{") + value.count(b"[") for value in given]) > PROPERTIES_DEPTH_MAX
    ):
        return False
    if (b"e-" in joined or b"E-" in joined) and _TINY.search(joined):
        return False
    try:
        joined.decode()
        return len(_DECODER.decode_lines(joined)) == len(given)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return False


def _property_faults(
    properties: Sequence[bytes], known: Mapping[int, Violation]
) -> Mapping[int, Violation]:
    checks: Sequence[Callable[[bytes], Violation | None]] = (_syntax_fault, _content_fault)
    found = {}
    for index, value in enumerate(properties):
        if value and len(value) <= PROPERTIES_BYTES_MAX and index not in known:
            for check in checks:
                if fault := check(value):
                    found[index] = fault
                    break
    return found


def _syntax_fault(value: bytes) -> Violation | None:
    try:
        value.decode()
        _DECODER.decode(value)
    except UnicodeDecodeError as error:
        return Violation("properties_json", "bytes.utf8", f"must be UTF-8: byte {error.start}")
    except RecursionError:
        return _TOO_DEEP
    except msgspec.ValidationError as error:
        return Violation("properties_json", "bytes.json", f"must be a JSON object: {error}")
    except msgspec.DecodeError as error:
        return Violation("properties_json", "bytes.json", f"must be JSON: {error}")
    return None


def _content_fault(value: bytes) -> Violation | None:
    decoded = _DECODER.decode(value)
    if _depth(decoded) > PROPERTIES_DEPTH_MAX:
        return _TOO_DEEP
    if _TINY.search(value):
        try:
            _EXACT_DECODER.decode(value)
        except msgspec.ValidationError:
            return _TOO_TINY
    if _NUL.search(value):
        return Violation("properties_json", "bytes.nul", "must not hold the character U+0000")
    return None


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for parent in level
            for child in (
                parent.values()
                if isinstance(parent, dict)
                else parent
                if isinstance(parent, list)
                else ()
            )
            if isinstance(child, dict | list)
        ]
    return depth


def _microseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)


def _exact(text: str) -> Decimal:
    number = Decimal(text)
    if number.adjusted() < _LEAST_EXPONENT:
        raise ValueError(text)
    return number


_EXACT_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=_exact)
_TOO_TINY = Violation(
    "properties_json", "bytes.number", f"must hold no number below 1e{_LEAST_EXPONENT}"
)
_TOO_DEEP = Violation(
    "properties_json", "bytes.depth", f"must be nested at most {PROPERTIES_DEPTH_MAX} deep"
)
_BAD_NUMBER = Violation(
    "properties", "struct.number", "must hold finite numbers and be nested at most 32 deep"
)
