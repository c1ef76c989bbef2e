"""Turns recorded spans into OTLP messages. Only the writer's thread does that.

A span is written as bytes by hand, which costs a third of filling in a generated message; all that
is not in every span is left to the generated code. A property test holds the two equal.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 — an exception under an exception's name

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AnyValue as Attribute

from mesh.tracing.context import SPAN_ID_BYTES, TRACE_ID_BYTES
from mesh.tracing.record import SpanRecord

NAMESPACE = "beckon"
# Longer values are cut: 512 spans must stay below gRPC's 4 MiB a message.
ATTRIBUTE_LENGTH_MAX = 1_024

_SCOPE = InstrumentationScope(name="beckon")
# Tags of the fields of opentelemetry.proto.trace.v1.Span that every span has, and lengths.
_TRACE_ID = b"\x0a\x10"
_SPAN_ID = b"\x12\x08"
_PARENT_SPAN_ID = b"\x22\x08"
_times = Struct("<BQBQ").pack
_START_TIME = 0x39
_END_TIME = 0x41
_ATTRIBUTE = b"\x4a"
_STATUS = b"\x7a"
_SPAN_OF_SCOPE = b"\x12"
# Set on every byte of a varint that another one follows.
_MORE = 0x80
_VARINT_BITS = 7
# Spans are a few hundred bytes long.
_LENGTHS_KEPT = 1_024
# Names of campaigns and channels come again and again; ids of deliveries do not.
_ATTRIBUTES_KEPT = 4_096


@cache  # a handful of services
def resource_of(service: str) -> Resource:
    """Return what OpenTelemetry says about a service, `OTEL_RESOURCE_ATTRIBUTES` included."""
    return Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: NAMESPACE})


def encode(
    spans: Sequence[SpanRecord | ReadableSpan],
) -> tuple[ExportTraceServiceRequest, int]:
    """Return the request that exports the spans, and how many of them could not be encoded."""
    by_service: dict[str, list[bytes]] = {}
    of_sdk = []
    refused = 0
    for span in spans:
        if isinstance(span, ReadableSpan):
            of_sdk.append(span)
            continue
        try:
            encoded = _field(_SPAN_OF_SCOPE, encode_span(span))
        except (TypeError, ValueError, AttributeError, StructError):
            # One wrong value, such as half a surrogate pair, must not cost its 511 neighbours.
            refused += 1
            continue
        by_service.setdefault(span.service, []).append(encoded)
    request = ExportTraceServiceRequest()
    for service, encoded_spans in by_service.items():
        resource_spans = request.resource_spans.add(resource=_encoded_resource(service))
        scope_spans = resource_spans.scope_spans.add(scope=_SCOPE)
        scope_spans.MergeFromString(b"".join(encoded_spans))
    if of_sdk:
        request.MergeFrom(encode_spans(of_sdk))
    return request, refused


def encode_span(span: SpanRecord) -> bytes:
    """Return the bytes of `opentelemetry.proto.trace.v1.Span`."""
    _, name, kind, trace_id, span_id, parent_span_id, start_ns, end_ns, attributes, error = span
    if len(trace_id) != TRACE_ID_BYTES or len(span_id) != SPAN_ID_BYTES:
        raise ValueError("a trace id has 16 bytes, a span id 8")
    # Clocks of two machines differ; a viewer shows a negative length as nonsense.
    end_ns = max(start_ns, end_ns)
    parts = [_TRACE_ID, trace_id, _SPAN_ID, span_id]
    if parent_span_id:
        if len(parent_span_id) != SPAN_ID_BYTES:
            raise ValueError("a span id has 8 bytes")
        parts += (_PARENT_SPAN_ID, parent_span_id)
    parts += (_name_and_kind(name, kind), _times(_START_TIME, start_ns, _END_TIME, end_ns))
    if attributes:
        parts += [_attribute(key, value) for key, value in attributes.items()]
    if error is not None:
        status = Status(code=Status.STATUS_CODE_ERROR, message=error[:ATTRIBUTE_LENGTH_MAX])
        parts.append(_field(_STATUS, status.SerializeToString()))
    return b"".join(parts)


@lru_cache(_ATTRIBUTES_KEPT)
def _name_and_kind(name: str, kind: SpanKind) -> bytes:
    return Span(name=name, kind=Span.SpanKind.Value(f"SPAN_KIND_{kind.name}")).SerializeToString()


def _attribute(key: str, value: Attribute) -> bytes:
    if isinstance(value, str):
        return _kept_attribute(key, value[:ATTRIBUTE_LENGTH_MAX])
    if isinstance(value, (int, float)):
        return _kept_attribute(key, value)
    return _new_attribute(key, value)


def _new_attribute(key: str, value: Attribute) -> bytes:
    pair = KeyValue(key=key)
    _set(pair.value, value)
    return _field(_ATTRIBUTE, pair.SerializeToString())


# typed: True and 1 are equal, and two attributes.
_kept_attribute = lru_cache(_ATTRIBUTES_KEPT, typed=True)(_new_attribute)


def _field(tag: bytes, body: bytes) -> bytes:
    """Return a length-delimited field."""
    return tag + _varint(len(body)) + body


@lru_cache(_LENGTHS_KEPT)
def _varint(number: int) -> bytes:
    head = bytearray()
    while number >= _MORE:
        head.append(number & (_MORE - 1) | _MORE)
        number >>= _VARINT_BITS
    head.append(number)
    return bytes(head)


@cache
def _encoded_resource(service: str) -> ResourceMessage:
    message = ResourceMessage()
    for key, value in resource_of(service).attributes.items():
        _set(message.attributes.add(key=key).value, value)
    return message


def _set(target: AnyValue, value: Attribute) -> None:
    match value:
        case str():
            target.string_value = value[:ATTRIBUTE_LENGTH_MAX]
        case bool():  # before int, which it is
            target.bool_value = value
        case int():
            target.int_value = value
        case float():
            target.double_value = value
        case bytes():
            target.bytes_value = value[:ATTRIBUTE_LENGTH_MAX]
        case Sequence():
            target.array_value.SetInParent()
            for item in value:
                _set(target.array_value.values.add(), item)
        case _:
            message = f"no attribute can hold a {type(value).__name__}"
            raise TypeError(message)
