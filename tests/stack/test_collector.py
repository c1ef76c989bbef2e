"""Makes sure that spans arrive once, with their parents, from an exporter nobody wrote for us."""

import asyncio
import os
import sys
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from stack import spans
from stack.ports import HOST, free_port
from stack.ready import listens
from stack.spans import Span, SpanFile
from stack.supervisor import Program

TRACE = "0123456789abcdef0123456789abcdef"


async def test_a_span_sent_twice_is_one_span(tmp_path: Path) -> None:
    file = tmp_path / "spans.sqlite"
    port = free_port()
    collector = Program(
        "collector",
        [sys.executable, "-m", "stack.collector", f"--listen={HOST}:{port}", f"--store={file}"],
        environment=os.environ,
        log=tmp_path / "collector.log",
        ready=lambda: listens(HOST, port),
    )
    await collector.start()
    try:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            export = rpc.TraceServiceStub(channel).Export
            await asyncio.gather(*(export(request()) for _ in range(5)))
    finally:
        await collector.stop()

    (span,) = spans.read_trace(file, TRACE)
    assert (span.service, span.name, span.error) == ("trigger", "judge", "no such profile")
    assert span.attributes == {"beckon.workspace": "shop", "tries": 3, "tags": ["a", "b"]}
    assert span.duration.total_seconds() == 0.25


def test_a_tree_has_children_in_order_of_time_below_their_parents() -> None:
    found = spans.tree(
        [
            a_span("deliver", "04", parent="02", start=30),
            a_span("event", "01", start=10),
            a_span("judge", "02", parent="01", start=20),
            a_span("observe", "03", parent="01", start=15),
        ]
    )

    assert [(depth, span.name) for root in found for depth, span in root.walk()] == [
        (0, "event"),
        (1, "observe"),
        (1, "judge"),
        (2, "deliver"),
    ]


def test_a_span_whose_parent_is_not_here_is_a_root() -> None:
    found = spans.tree([a_span("judge", "02", parent="ff", start=20), a_span("event", "01")])

    assert [root.span.name for root in found] == ["event", "judge"]


def test_a_span_that_names_itself_as_parent_is_not_lost() -> None:
    found = spans.tree([a_span("odd", "01", parent="01")])

    assert [root.span.name for root in found] == ["odd"]


def test_the_oldest_spans_make_room(tmp_path: Path) -> None:
    file = tmp_path / "spans.sqlite"
    keeper = SpanFile(file, retain=10)

    for number in range(25):
        keeper.add([a_span("judge", f"{number:02x}", start=number)])
    keeper.close()

    assert [span.span_id for span in spans.read_trace(file, TRACE)] == [
        f"{number:02x}" for number in range(15, 25)
    ]


def test_a_trace_is_found_by_an_attribute(tmp_path: Path) -> None:
    file = tmp_path / "spans.sqlite"
    keeper = SpanFile(file, retain=10)
    keeper.add([a_span("send", "01", attributes={"beckon.delivery": "d1"})])
    keeper.close()

    assert [span.trace_id for span in spans.find_spans(file, "beckon.delivery", "d1")] == [TRACE]
    assert spans.find_spans(file, "beckon.delivery", "d2") == []


def test_a_file_that_is_not_there_reads_as_empty(tmp_path: Path) -> None:
    assert spans.read_trace(tmp_path / "none.sqlite", TRACE) == []


def a_span(
    name: str,
    span_id: str,
    *,
    parent: str = "",
    start: int = 0,
    attributes: dict[str, object] | None = None,
) -> Span:
    return Span(
        trace_id=TRACE,
        span_id=span_id,
        parent_span_id=parent,
        service="trigger",
        name=name,
        start_time=start,
        end_time=start + 1,
        attributes=attributes or {},
    )


def request() -> pb.ExportTraceServiceRequest:
    span = trace_pb2.Span(
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex("0123456789abcdef"),
        name="judge",
        start_time_unix_nano=1_000_000_000,
        end_time_unix_nano=1_250_000_000,
        status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message="no such profile"),
    )
    span.attributes.append(attribute("beckon.workspace", AnyValue(string_value="shop")))
    span.attributes.append(attribute("tries", AnyValue(int_value=3)))
    tags = AnyValue()
    tags.array_value.values.extend([AnyValue(string_value="a"), AnyValue(string_value="b")])
    span.attributes.append(attribute("tags", tags))
    resource = Resource(attributes=[attribute("service.name", AnyValue(string_value="trigger"))])
    return pb.ExportTraceServiceRequest(
        resource_spans=[
            trace_pb2.ResourceSpans(
                resource=resource, scope_spans=[trace_pb2.ScopeSpans(spans=[span])]
            )
        ]
    )


def attribute(key: str, value: AnyValue) -> KeyValue:
    return KeyValue(key=key, value=value)
