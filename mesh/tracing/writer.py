"""Carries recorded spans to a collector from a thread of its own. The recorder never waits."""

import logging
from collections import deque
from collections.abc import Sequence
from threading import Event, Thread
from time import monotonic

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from mesh.metrics import SPANS
from mesh.tracing.encode import encode
from mesh.tracing.record import SpanRecord

# About two seconds of the busiest process, 10 MB.
QUEUE_MAX = 16_384
# Encoding one batch holds the interpreter for about 2 ms.
BATCH_MAX = 512
# How long a span may lie before it is sent.
DELAY_SECONDS = 0.5
# One export with its repeats; meanwhile the queue takes what comes.
EXPORT_SECONDS = 5.0
# Share of the time at the end for sending; the rest is for breaking off what does not end.
PATIENCE = 0.7
# What a flush at the end is given when the collector was away the last time.
HOPELESS_SECONDS = 0.3

# The exporter says at every attempt what we say once per outage.
_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.grpc.exporter"

# Children kept: looking one up costs as much as all else in put().
_EXPORTED = SPANS.labels("exported")
_DROPPED = SPANS.labels("dropped")

log = structlog.get_logger(__name__)


class SpanWriter:
    """Holds a bounded queue of spans and the thread that empties it."""

    def __init__(self, endpoint: str) -> None:
        logging.getLogger(_EXPORTER_LOG).setLevel(logging.CRITICAL)
        self._sender = _Sender(endpoint=endpoint, timeout=EXPORT_SECONDS)
        self._endpoint = endpoint
        self._queue: deque[SpanRecord | ReadableSpan] = deque()
        self._wake = Event()
        self._stopping = False
        self._abandoned = False
        self._away = False
        self._overflowed = False
        self._overflow_known = False
        # A daemon: a process that forgets to shut down still ends.
        self._thread = Thread(target=self._run, name="span-writer", daemon=True)
        self._thread.start()

    def put(self, span: SpanRecord | ReadableSpan) -> None:
        """Take a span, or count it as dropped when the queue is full. Never waits, never logs."""
        queue = self._queue
        if len(queue) >= QUEUE_MAX:
            _DROPPED.inc()
            self._overflowed = True
            return
        queue.append(span)
        if len(queue) == BATCH_MAX:
            self._wake.set()

    def close(self, timeout: float) -> None:
        """Send what is queued, for `timeout` seconds at most; drop and count the rest."""
        deadline = monotonic() + timeout
        self._stopping = True
        self._wake.set()
        patience = timeout * PATIENCE
        self._thread.join(min(patience, HOPELESS_SECONDS) if self._away else patience)
        self._abandoned = True
        # Interrupts an export that waits for its next attempt.
        self._sender.shutdown()
        self._thread.join(max(0.0, deadline - monotonic()))
        if self._queue:
            _DROPPED.inc(len(self._queue))
            self._queue.clear()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(DELAY_SECONDS)
            self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        queue = self._queue
        while queue and not self._abandoned:
            batch = [queue.popleft() for _ in range(min(len(queue), BATCH_MAX))]
            try:
                self._export(batch)
            except Exception:
                # The thread's outermost boundary: without it one bug would end all tracing.
                _DROPPED.inc(len(batch))
                log.exception("span export failed", endpoint=self._endpoint)
        if self._overflowed and not self._overflow_known:
            self._overflow_known = True
            log.warning("spans dropped, more are made than can be sent", queue_max=QUEUE_MAX)

    def _export(self, batch: Sequence[SpanRecord | ReadableSpan]) -> None:
        request, refused = encode(batch)
        if refused:
            _DROPPED.inc(refused)
        if self._sender.send(request):
            _EXPORTED.inc(len(batch) - refused)
            if self._away:
                log.info("span export works again", endpoint=self._endpoint)
            self._away = False
            return
        _DROPPED.inc(len(batch) - refused)
        if not self._away:
            log.warning("spans cannot be exported, dropping them", endpoint=self._endpoint)
        self._away = True


class _Sender(OTLPSpanExporter):
    """The SDK's exporter with its endpoint, TLS, headers and repeats, fed with encoded requests.

    Encoding SDK spans costs five times as much as ours does: bench/tracing_cost.py.
    """

    def send(self, request: ExportTraceServiceRequest) -> bool:
        # What goes in here comes out of the two hooks below, and nobody else looks at it.
        return self._export(request) is SpanExportResult.SUCCESS  # type: ignore[arg-type]

    def _translate_data(self, data: object) -> ExportTraceServiceRequest:
        assert isinstance(data, ExportTraceServiceRequest)
        return data

    def _count_data(self, data: object) -> int:
        assert isinstance(data, ExportTraceServiceRequest)
        return sum(len(scope.spans) for each in data.resource_spans for scope in each.scope_spans)
