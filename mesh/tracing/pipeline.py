"""The process's one span pipeline: where spans go, and which events are traced at all."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from mesh.tracing import rpc
from mesh.tracing.context import TraceContext, derive_trace_id, parse_traceparent
from mesh.tracing.record import SpanRecord

if TYPE_CHECKING:
    from mesh.tracing.writer import SpanWriter

# What a process gives its last spans before it ends.
FLUSH_SECONDS = 2.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400


class _State:
    """What `set_up_tracing` decided. One per process, like the logger's configuration."""

    writer: "SpanWriter | None" = None
    sample_below: int = 0
    """Traces whose lower 64 bits are below are sampled: what OpenTelemetry's own samplers do."""


def set_up_tracing(service: str, endpoint: str, ratio: float) -> None:
    """Begin to export spans over OTLP gRPC. Called once, in `__main__`.

    Args:
        service: `service.name` of this process's RPC spans.
        endpoint: `http://host:port` or, with TLS, `https://host:port`; empty: nothing is exported.
        ratio: share of traces, 0 to 1, recorded though neither their caller nor a message asks.
    """
    shut_down_tracing()
    _State.sample_below = round(ratio * 2**64)
    if endpoint:
        # The exporter takes a third of a second to import: only where it is used.
        from mesh.tracing.encode import resource_of  # noqa: PLC0415 — see above
        from mesh.tracing.provider import make_tracer  # noqa: PLC0415 — see above
        from mesh.tracing.writer import SpanWriter  # noqa: PLC0415 — see above

        writer = _State.writer = SpanWriter(endpoint)
        rpc.start(make_tracer(resource_of(service), ratio=ratio, put=writer.put))


def shut_down_tracing(timeout: float = FLUSH_SECONDS) -> None:
    """Send what is queued, for `timeout` seconds at most, and record nothing any more.

    Blocks: call it in a thread where a loop still runs. Harmless when nothing was set up.
    """
    writer, _State.writer = _State.writer, None
    rpc.stop()
    if writer is not None:
        writer.close(timeout)


def trace_of(traceparent: str, event_uid: UUID) -> TraceContext:
    """Return the trace of an event: its caller's, or one that follows from the event.

    Whether the caller samples decides; where the caller says nothing, the ratio does, by trace id
    and so the same way in every process. An event that leads to a message is recorded regardless.
    """
    caller = parse_traceparent(traceparent) if traceparent else None
    if caller is not None:
        return caller
    trace_id = derive_trace_id(event_uid)
    return TraceContext(trace_id, None, int.from_bytes(trace_id[8:], "big") < _State.sample_below)


def record_span(
    *,
    service: str,
    name: str,
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes | None,
    start: datetime | int,
    end: datetime | int,
    attributes: Mapping[str, AttributeValue] | None = None,
    error: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> None:
    """Record a span that is over. Never waits; nearly free while nothing is exported.

    Args:
        service: `service.name` under which it shows; need not be this process's.
        start: aware, or nanoseconds since the epoch.
        end: the same; a span that would end before its start gets length 0.
        attributes: kept as it is, so not to be changed afterwards.
        error: why the work failed; None: it did not.
    """
    writer = _State.writer
    if writer is None:
        return
    writer.put(
        SpanRecord(
            service,
            name,
            kind,
            trace_id,
            span_id,
            parent_span_id,
            start if isinstance(start, int) else _nanoseconds(start),
            end if isinstance(end, int) else _nanoseconds(end),
            attributes,
            error,
        )
    )


def _nanoseconds(moment: datetime) -> int:
    # datetime.timestamp() is a float, off by up to 100 ns.
    since = moment - _EPOCH
    seconds = since.days * _DAY_SECONDS + since.seconds
    return (seconds * 1_000_000 + since.microseconds) * 1_000
