"""Measures what tracing costs: recording a span, and carrying it to a collector.

Run it as `python -m bench.tracing_cost`. CPU microseconds a span, the median of several turns,
measured in turn. The collector is a process of its own and not counted; the exporting thread is.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console
from rich.table import Table

from mesh import tracing
from mesh.tracing.writer import QUEUE_MAX

# As many as the queue takes, so that recording and exporting can be told apart.
SPANS = 8_192
assert SPANS < QUEUE_MAX
SPANS_A_MESSAGE = 8
UID = UUID("5b0c4a0e-7d2f-5d63-9a9e-0b3f6f3f2a11")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = START + timedelta(milliseconds=3)
METHOD = "/beckon.trigger.v1.CampaignService/GetCampaign"


class Sink(rpc.TraceServiceServicer):
    """A collector that throws everything away."""

    def Export(
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        return pb.ExportTraceServiceResponse()


def serve() -> None:
    """Be the collector until the parent closes our standard input."""
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_TraceServiceServicer_to_server(Sink(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


@contextmanager
def collector() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.tracing_cost", "--collector"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate()


def record_spans(attributes: dict[str, str | int] | None) -> None:
    """Record as a worker does, ids included."""
    subject = UID.bytes
    trace_id = tracing.derive_trace_id(UID)
    for _ in range(SPANS):
        tracing.record_span(
            service="trigger",
            name="judge",
            trace_id=trace_id,
            span_id=tracing.span_id(trace_id, "judge", subject),
            parent_span_id=tracing.span_id(trace_id, "observe", subject),
            start=START,
            end=END,
            attributes=attributes,
        )


def cpu(work: Callable[[], object]) -> float:
    """Return CPU microseconds a span, of all threads."""
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / 1_000 / SPANS


def thread_cpu(work: Callable[[], object]) -> float:
    """Return CPU microseconds a span, of this thread."""
    begin = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begin) / 1_000 / SPANS


ATTRIBUTES: dict[str, str | int] = {
    "campaign": "workspaces/shop/campaigns/abandoned-cart",
    "channel": "email",
    "attempt": 1,
}


def measure_ours(endpoint: str, attributes: dict[str, str | int] | None) -> tuple[float, float]:
    """Return what recording costs the caller, and what exporting costs on top."""
    tracing.set_up_tracing("trigger", endpoint, 0.01)
    begin = time.process_time_ns()
    recording = thread_cpu(lambda: record_spans(attributes))
    tracing.shut_down_tracing(timeout=30)
    total = (time.process_time_ns() - begin) / 1_000 / SPANS
    return recording, total - recording


def measure_sdk(endpoint: str, attributes: dict[str, str | int] | None) -> tuple[float, float]:
    """Return the same for the SDK's own spans, processor and exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), max_queue_size=QUEUE_MAX)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")

    def record() -> None:
        for _ in range(SPANS):
            span = tracer.start_span("judge", attributes=attributes, start_time=1)
            span.end(2)

    begin = time.process_time_ns()
    recording = thread_cpu(record)
    provider.shutdown()
    total = (time.process_time_ns() - begin) / 1_000 / SPANS
    return recording, total - recording


def rpc_spans(traceparent: str) -> None:
    for _ in range(SPANS):
        with tracing.start_rpc_span(METHOD, traceparent=traceparent) as span:
            tracing.set_rpc_status(span, grpc.StatusCode.OK)


def measure_rpc(endpoint: str, *, sampled: bool) -> tuple[float, float]:
    tracing.set_up_tracing("trigger", endpoint, 0.01)
    caller = tracing.format_traceparent(UID.bytes, UID.bytes[:8], sampled=sampled)
    begin = time.process_time_ns()
    recording = thread_cpu(lambda: rpc_spans(caller))
    tracing.shut_down_tracing(timeout=30)
    total = (time.process_time_ns() - begin) / 1_000 / SPANS
    return recording, total - recording


def measure_trace_of() -> tuple[float, float]:
    tracing.set_up_tracing("ingest", "", 0.01)
    uids = [uuid5(UID, str(number)) for number in range(SPANS)]
    return cpu(lambda: [tracing.trace_of("", uid) for uid in uids]), 0.0


def measure_nothing() -> tuple[float, float]:
    tracing.set_up_tracing("trigger", "", 0.01)
    return cpu(lambda: record_spans(ATTRIBUTES)), 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--collector", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collector:
        serve()
        return
    samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with collector() as endpoint:
        for _ in range(options.turns):
            samples["record_span, no endpoint, 2 span ids"].append(measure_nothing())
            samples["record_span, no attributes"].append(measure_ours(endpoint, None))
            samples["record_span, 3 attributes"].append(measure_ours(endpoint, ATTRIBUTES))
            samples["OpenTelemetry SDK, 3 attributes"].append(measure_sdk(endpoint, ATTRIBUTES))
            samples["RPC span, sampled"].append(measure_rpc(endpoint, sampled=True))
            samples["RPC span, not sampled"].append(measure_rpc(endpoint, sampled=False))
            samples["trace_of an event without a caller's trace"].append(measure_trace_of())
    table = Table(title="CPU µs a span")
    table.add_column("what")
    table.add_column("record", justify="right")
    table.add_column("export", justify="right")
    table.add_column(f"a message of {SPANS_A_MESSAGE}", justify="right")
    for name, rows in samples.items():
        record, export = (statistics.median(column) for column in zip(*rows, strict=True))
        table.add_row(
            name, f"{record:.2f}", f"{export:.2f}", f"{SPANS_A_MESSAGE * (record + export):.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
