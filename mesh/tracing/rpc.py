"""Spans around RPCs, by the OpenTelemetry SDK: sampled as the caller does, else by ratio."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from mesh.tracing.context import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    TraceContext,
    format_traceparent,
    parse_traceparent,
)

SYSTEM = "rpc.system.name"
METHOD = "rpc.method"
STATUS_CODE = "rpc.response.status_code"

# A server is at fault for these only; the others tell the caller that it is. A client that gets
# any of them has failed. (OpenTelemetry's conventions for gRPC.)
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class _State:
    """The process's tracer, while spans are exported."""

    tracer: Tracer | None = None


def start(tracer: Tracer) -> None:
    """Trace RPCs from now on."""
    _State.tracer = tracer


def stop() -> None:
    """Trace no RPC any more."""
    _State.tracer = None


@contextmanager
def start_rpc_span(
    method: str, *, traceparent: str = "", kind: SpanKind = SpanKind.SERVER
) -> Iterator[Span]:
    """Trace an RPC while the block runs; its span is the current one there.

    Args:
        method: as gRPC names it: `/beckon.trigger.v1.CampaignService/GetCampaign`.
        traceparent: what a caller sent along. A server without one begins a trace; a client
            without one hangs under the current span.
        kind: SERVER or CLIENT.
    """
    tracer = _State.tracer
    if tracer is None:
        yield INVALID_SPAN
        return
    name = method.removeprefix("/")
    with tracer.start_as_current_span(
        name,
        context=_parent(traceparent, kind),
        kind=kind,
        attributes={SYSTEM: "grpc", METHOD: name},
        # Every refusal leaves as an exception; set_rpc_status knows whose fault it is.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def set_rpc_status(span: Span, code: grpc.StatusCode, description: str = "") -> None:
    """Write on a span how its RPC ended."""
    if not span.is_recording():
        return
    span.set_attribute(STATUS_CODE, code.name)
    of_client = getattr(span, "kind", None) is SpanKind.CLIENT
    if code in _SERVER_FAULTS or (of_client and code is not grpc.StatusCode.OK):
        span.set_status(Status(StatusCode.ERROR, description or code.name))


def current_traceparent() -> str:
    """Return the `traceparent` to send along with a call from here; empty outside any span."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return ""
    return format_traceparent(
        here.trace_id.to_bytes(TRACE_ID_BYTES, "big"),
        here.span_id.to_bytes(SPAN_ID_BYTES, "big"),
        sampled=here.trace_flags.sampled,
    )


def _parent(traceparent: str, kind: SpanKind) -> Context | None:
    caller = parse_traceparent(traceparent) if traceparent else None
    if caller is not None:
        return trace.set_span_in_context(NonRecordingSpan(_span_context(caller)), Context())
    # None means the current span; a server must not hang under what its task inherited.
    return None if kind is SpanKind.CLIENT else Context()


def _span_context(caller: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int.from_bytes(caller.trace_id, "big"),
        span_id=int.from_bytes(caller.parent_span_id or b"", "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if caller.sampled else TraceFlags.DEFAULT),
    )
