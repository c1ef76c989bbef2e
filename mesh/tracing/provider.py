"""The SDK's tracer for RPC spans, whose spans go the way of all others."""

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer


class _Handover(SpanProcessor):
    """Gives ended spans to the writer, which knows how to batch."""

    def __init__(self, put: Callable[[ReadableSpan], None]) -> None:
        self._put = put

    def on_end(self, span: ReadableSpan) -> None:
        self._put(span)


def make_tracer(resource: Resource, *, ratio: float, put: Callable[[ReadableSpan], None]) -> Tracer:
    """Make a tracer that samples as the caller does and, where nobody calls, by ratio."""
    provider = TracerProvider(
        sampler=ParentBased(root=TraceIdRatioBased(ratio)),
        resource=resource,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_Handover(put))
    return provider.get_tracer("beckon")
