"""Turns recorded spans into OTLP messages. Only the writer's thread does that."""

from collections.abc import Sequence
from functools import cache

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AnyValue as Attribute

from mesh.tracing.record import SpanRecord

NAMESPACE = "beckon"
# Longer values are cut: 512 spans must stay below gRPC's 4 MiB a message.
ATTRIBUTE_LENGTH_MAX = 1_024

_SCOPE = InstrumentationScope(name="beckon")
_KINDS = {
    SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
    SpanKind.PRODUCER: Span.SPAN_KIND_PRODUCER,
    SpanKind.CONSUMER: Span.SPAN_KIND_CONSUMER,
}


@cache  # a handful of services
def resource_of(service: str) -> Resource:
    """Return what OpenTelemetry says about a service, `OTEL_RESOURCE_ATTRIBUTES` included."""
    return Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: NAMESPACE})


def encode(
    spans: Sequence[SpanRecord | ReadableSpan],
) -> tuple[ExportTraceServiceRequest, int]:
    """Return the request that exports the spans, and how many of them could not be encoded."""
    request = ExportTraceServiceRequest()
    groups: dict[str, ScopeSpans] = {}
    of_sdk = []
    refused = 0
    for span in spans:
        if isinstance(span, ReadableSpan):
            of_sdk.append(span)
            continue
        group = groups.get(span.service)
        if group is None:
            group = groups[span.service] = _add_group(request, span.service)
        kept = len(group.spans)
        try:
            _add(group, span)
        except (TypeError, ValueError, AttributeError):
            # One wrong value, such as half a surrogate pair, must not cost its 511 neighbours.
            del group.spans[kept:]
            refused += 1
    if of_sdk:
        request.MergeFrom(encode_spans(of_sdk))
    return request, refused


def _add_group(request: ExportTraceServiceRequest, service: str) -> ScopeSpans:
    group = request.resource_spans.add(resource=_encoded_resource(service))
    return group.scope_spans.add(scope=_SCOPE)


@cache
def _encoded_resource(service: str) -> ResourceMessage:
    message = ResourceMessage()
    for key, value in resource_of(service).attributes.items():
        _set(message.attributes.add(key=key).value, value)
    return message


def _add(group: ScopeSpans, span: SpanRecord) -> None:
    message = group.spans.add(
        trace_id=span.trace_id,
        span_id=span.span_id,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.start_ns,
        # Clocks of two machines differ; a viewer shows a negative length as nonsense.
        end_time_unix_nano=max(span.start_ns, span.end_ns),
    )
    if span.parent_span_id:
        message.parent_span_id = span.parent_span_id
    if span.attributes:
        add = message.attributes.add
        for key, value in span.attributes.items():
            pair: KeyValue = add()
            pair.key = key
            _set(pair.value, value)
    if span.error is not None:
        message.status.code = Status.STATUS_CODE_ERROR
        message.status.message = span.error[:ATTRIBUTE_LENGTH_MAX]


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
