"""Spans: made afterwards with their true times for events, and around each call for RPCs."""

from mesh.tracing.context import (
    TraceContext,
    derive_trace_id,
    format_traceparent,
    parse_traceparent,
    span_id,
)
from mesh.tracing.pipeline import (
    record_span,
    set_up_tracing,
    shut_down_tracing,
    trace_of,
)
from mesh.tracing.rpc import current_traceparent, set_rpc_status, start_rpc_span

__all__ = [
    "TraceContext",
    "current_traceparent",
    "derive_trace_id",
    "format_traceparent",
    "parse_traceparent",
    "record_span",
    "set_rpc_status",
    "set_up_tracing",
    "shut_down_tracing",
    "span_id",
    "start_rpc_span",
    "trace_of",
]
