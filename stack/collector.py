"""The span collector of a development stack: receives OTLP over gRPC, keeps spans in a file.

`python -m stack.collector --listen 127.0.0.1:50317 --store FILE`. Any other collector may take its
place: services only know OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import argparse
import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from stack.spans import Span, SpanFile

# Some hundred megabytes; a day of clicking, or the last minutes of a load test.
RETAIN = 500_000

# An exporter's batch of long attributes.
_MESSAGE_BYTES_MAX = 32 * 1024 * 1024


class Collector(rpc.TraceServiceServicer):
    """Keeps the spans it is sent."""

    def __init__(self, file: SpanFile) -> None:
        self._file = file

    async def Export(  # noqa: N802 — the protocol's name for it.
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        """Keep every span before answering; a repeat changes nothing."""
        del context
        self._file.add(spans_of(request))
        return pb.ExportTraceServiceResponse()


def spans_of(request: pb.ExportTraceServiceRequest) -> list[Span]:
    """Return the spans of a request, each with the name of its service."""
    return [
        _span(span, _service(resource))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: trace_pb2.Span, service: str) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    attributes = _attributes(span.attributes)
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        # Spans written afterwards for another process may say so themselves.
        service=str(attributes.get("service.name", service)),
        name=span.name,
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        error=(span.status.message or "error") if failed else "",
        attributes=attributes,
    )


def _service(resource: trace_pb2.ResourceSpans) -> str:
    return str(_attributes(resource.resource.attributes).get("service.name", ""))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(one) for one in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case _:
            return None


async def serve(listen: str, file: Path, *, retain: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    told = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, told.set)
    server = grpc.aio.server(
        options=[
            # Without this a second collector on the port would silently take half of the spans.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        ]
    )
    spans = SpanFile(file, retain=retain)
    rpc.add_TraceServiceServicer_to_server(Collector(spans), server)
    server.add_insecure_port(listen)
    await server.start()
    await told.wait()
    await server.stop(grace=2)
    spans.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m stack.collector")
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--store", type=Path, required=True, metavar="FILE")
    parser.add_argument("--retain", type=int, default=RETAIN, metavar="SPANS")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.listen, chosen.store, retain=chosen.retain))


if __name__ == "__main__":
    main()
