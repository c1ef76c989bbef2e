"""Spans arrive at a real OTLP receiver as they were recorded; a receiver that is away costs nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import grpc
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import SpanKind

from mesh import tracing
from mesh.metrics import SPANS
from mesh.tracing import writer as writing
from mesh.tracing.encode import encode_span
from mesh.tracing.record import SpanRecord

UID = UUID("5b0c4a0e-7d2f-5d63-9a9e-0b3f6f3f2a11")
TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
PARENT = bytes.fromhex("00f067aa0ba902b7")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ids = st.binary(min_size=16, max_size=16).filter(any)
span_ids = st.binary(min_size=8, max_size=8).filter(any)


class Receiver(rpc.TraceServiceServicer):
    """A collector that remembers."""

    def __init__(self) -> None:
        self.spans: list[tuple[dict[str, object], Span]] = []
        self.failing = 0
        self.frozen = threading.Event()
        self.frozen.set()

    def Export(
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        self.frozen.wait(10)
        if self.failing:
            self.failing -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        for resource_spans in request.resource_spans:
            resource = plain(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self.spans += [(resource, span) for span in scope_spans.spans]
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> Span:
        (span,) = [span for _, span in self.spans if span.name == name]
        return span


def plain(attributes: object) -> dict[str, object]:
    pairs: list[KeyValue] = list(attributes)  # type: ignore[call-overload]
    values: dict[str, object] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value") or "string_value"
        values[pair.key] = (
            [item.string_value for item in pair.value.array_value.values]
            if kind == "array_value"
            else getattr(pair.value, kind)
        )
    return values


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    servicer = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    tracing.shut_down_tracing()
    server.stop(None).wait()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An endpoint where nobody listens."""
    yield "http://127.0.0.1:9"
    tracing.shut_down_tracing()


def record(name: str, *, service: str = "trigger", parent: bytes | None = PARENT) -> bytes:
    """Record a span as a worker does."""
    span = tracing.span_id(TRACE, name, UID.bytes)
    tracing.record_span(
        service=service,
        name=name,
        trace_id=TRACE,
        span_id=span,
        parent_span_id=parent,
        start=NOON,
        end=NOON + timedelta(days=2, microseconds=7),
        attributes={
            "campaign": "cart",
            "attempt": 2,
            "late": True,
            "cost": 0.5,
            "tags": ["a", "b"],
        },
        error=None,
    )
    return span


def dropped() -> float:
    return float(SPANS.labels("dropped")._value.get())


# What arrives.


def test_a_span_arrives_as_recorded(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    span_id = record("judge")
    tracing.shut_down_tracing()

    ((resource, span),) = collector.spans
    assert resource["service.name"] == "trigger"
    assert resource["service.namespace"] == "beckon"
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE, span_id, PARENT)
    assert span.start_time_unix_nano == 1_772_366_400_000_000_000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 172_800_000_007_000
    assert span.kind == Span.SPAN_KIND_INTERNAL
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert plain(span.attributes) == {
        "campaign": "cart",
        "attempt": 2,
        "late": True,
        "cost": 0.5,
        "tags": ["a", "b"],
    }


def test_one_process_can_record_for_several_services(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    event = record("event", service="ingest", parent=None)
    record("log.wait", service="log", parent=event)
    record("judge", service="trigger", parent=event)
    tracing.shut_down_tracing()

    services = {span.name: resource["service.name"] for resource, span in collector.spans}
    assert services == {"event": "ingest", "log.wait": "log", "judge": "trigger"}
    assert collector.named("event").parent_span_id == b""
    assert collector.named("judge").parent_span_id == event


def test_an_error_kind_and_nanoseconds_arrive(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("delivery", endpoint, 0.0)
    tracing.record_span(
        service="delivery",
        name="send",
        trace_id=TRACE,
        span_id=PARENT,
        parent_span_id=None,
        start=1_000,
        end=900,
        error="550 no such user",
        kind=SpanKind.CLIENT,
    )
    tracing.shut_down_tracing()

    span = collector.named("send")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_000, 1_000)
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "550 no such user")
    assert span.kind == Span.SPAN_KIND_CLIENT


def test_spans_are_sent_without_being_asked_for(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("judge")
    wait_until(lambda: len(collector.spans) == 1)


def test_what_cannot_be_encoded_costs_only_itself(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    before = dropped()
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("before")
    for bad in ("\ud800", object()):
        tracing.record_span(
            service="trigger",
            name="bad",
            trace_id=TRACE,
            span_id=PARENT,
            parent_span_id=None,
            start=1,
            end=2,
            attributes={"good": "value", "bad": bad},  # type: ignore[dict-item]
        )
    record("after")
    tracing.shut_down_tracing()

    assert [span.name for _, span in collector.spans] == ["before", "after"]
    assert dropped() - before == 2


def test_long_values_are_cut(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    tracing.record_span(
        service="trigger",
        name="long",
        trace_id=TRACE,
        span_id=PARENT,
        parent_span_id=None,
        start=1,
        end=2,
        attributes={"text": "x" * 100_000},
        error="y" * 100_000,
    )
    tracing.shut_down_tracing()
    assert collector.named("long").ByteSize() < 3_000


def test_more_spans_than_a_batch_holds_all_arrive(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    for number in range(3 * writing.BATCH_MAX + 5):
        record(f"judge {number}")
    tracing.shut_down_tracing()
    assert len(collector.spans) == 3 * writing.BATCH_MAX + 5


attribute_values = (
    st.text(max_size=300)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.lists(st.text(max_size=5), max_size=3)
)


@given(
    name=st.text(max_size=200),
    kind=st.sampled_from(SpanKind),
    parent=st.none() | span_ids,
    times=st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)).map(sorted),
    attributes=st.dictionaries(st.text(max_size=10), attribute_values, max_size=4),
    error=st.none() | st.text(max_size=300),
)
def test_bytes_by_hand_are_those_of_the_generated_code(
    name: str,
    kind: SpanKind,
    parent: bytes | None,
    times: list[int],
    attributes: dict[str, str | bool | float | list[str]],
    error: str | None,
) -> None:
    start, end = times
    ours = Span.FromString(
        encode_span(
            SpanRecord("s", name, kind, TRACE, PARENT, parent, start, end, attributes, error)
        )
    )
    status = None if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error)
    theirs = Span(
        trace_id=TRACE,
        span_id=PARENT,
        parent_span_id=parent or b"",
        name=name,
        kind=Span.SpanKind.Value(f"SPAN_KIND_{kind.name}"),
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        status=status,
    )
    assert plain(ours.attributes) == attributes
    del ours.attributes[:]
    assert ours == theirs


def test_true_and_one_are_two_attributes() -> None:
    for value in (1, True, 1.0):
        span = SpanRecord(
            "s", "n", SpanKind.INTERNAL, TRACE, PARENT, None, 1, 2, {"a": value}, None
        )
        (pair,) = Span.FromString(encode_span(span)).attributes
        assert type(getattr(pair.value, pair.value.WhichOneof("value") or "")) is type(value)


# Ids.


def test_repeated_work_writes_the_same_span(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("judge")
    record("judge")
    tracing.shut_down_tracing()
    first, second = collector.spans
    assert first == second


def test_ids_stay_what_they_are() -> None:
    """Processes of two releases write into one trace, so these values are for ever."""
    trace_id = tracing.derive_trace_id(UID)
    assert trace_id.hex() == "6b0cf80af21c7065b704bc4690da8fa8"
    assert tracing.span_id(trace_id, "judge", UID.bytes).hex() == "be7fd17e4e0d7ded"


@given(ids, st.text(max_size=20), st.binary(max_size=40))
def test_span_ids_differ_by_trace_stage_and_subject(
    trace: bytes, stage: str, subject: bytes
) -> None:
    here = tracing.span_id(trace, stage, subject)
    assert len(here) == 8
    assert here == tracing.span_id(trace, stage, subject)
    assert here != tracing.span_id(trace, stage + "x", subject)
    assert here != tracing.span_id(trace, stage, subject + b"x")
    assert here != tracing.span_id(trace[:15] + bytes([trace[15] ^ 1]), stage, subject)


# Which traces.


@given(ids, span_ids, st.booleans())
def test_what_is_formatted_is_parsed(trace: bytes, span: bytes, sampled: bool) -> None:
    value = tracing.format_traceparent(trace, span, sampled=sampled)
    assert len(value) == 55
    assert tracing.parse_traceparent(value) == (trace, span, sampled)


@given(st.text(max_size=80))
def test_noise_is_no_traceparent(value: str) -> None:
    assert tracing.parse_traceparent(value) is None


@given(ids, span_ids, st.integers(0, 54), st.characters(codec="utf-8"))
def test_one_changed_character_never_raises(
    trace: bytes, span: bytes, place: int, character: str
) -> None:
    value = tracing.format_traceparent(trace, span, sampled=True)
    changed = value[:place] + character + value[place + 1 :]
    context = tracing.parse_traceparent(changed)
    assert context is None or (len(context.trace_id), len(context.parent_span_id or b"")) == (16, 8)


VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "value",
    [
        "",
        VALID.upper(),
        VALID + "-",
        VALID + "-more",
        VALID + "0",
        VALID[:-1],
        VALID + "\n",
        " " + VALID,
        "ff" + VALID[2:],
        "0g" + VALID[2:],
        VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        VALID.replace("00f067aa0ba902b7", "0" * 16),
        VALID.replace("-", "_"),
        "cc" + VALID[2:] + "x",
        "00-٤bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_malformed_traceparents_count_as_absent(value: str) -> None:
    assert tracing.parse_traceparent(value) is None
    assert tracing.trace_of(value, UID).trace_id == tracing.derive_trace_id(UID)


@pytest.mark.parametrize("value", [VALID, "cc" + VALID[2:], "cc" + VALID[2:] + "-what-may-come"])
def test_later_versions_are_read_as_far_as_known(value: str) -> None:
    assert tracing.parse_traceparent(value) == (TRACE, PARENT, True)


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)]
)
def test_the_caller_decides_about_its_trace(flags: str, sampled: bool) -> None:
    tracing.set_up_tracing("ingest", "", 1.0)
    assert tracing.trace_of(VALID[:-2] + flags, UID) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.3, 1.0])
def test_the_ratio_holds_and_agrees_with_opentelemetry(ratio: float) -> None:
    tracing.set_up_tracing("ingest", "", ratio)
    sampler = TraceIdRatioBased(ratio)
    contexts = [tracing.trace_of("", uuid5(UID, str(number))) for number in range(2_000)]
    share = sum(context.sampled for context in contexts) / len(contexts)
    assert share == pytest.approx(ratio, abs=0.05)
    for context in contexts[:200]:
        theirs = sampler.should_sample(None, int.from_bytes(context.trace_id, "big"), "event")
        assert (theirs.decision is Decision.RECORD_AND_SAMPLE) == context.sampled
        assert context.parent_span_id is None


# When nobody listens.


def test_without_an_endpoint_nothing_is_recorded() -> None:
    tracing.set_up_tracing("trigger", "", 1.0)
    record("judge")
    with tracing.start_rpc_span("/beckon.trigger.v1.CampaignService/GetCampaign") as span:
        assert not span.is_recording()
    assert tracing.current_traceparent() == ""
    assert "span-writer" not in {thread.name for thread in threading.enumerate()}
    tracing.shut_down_tracing()


def test_a_collector_that_is_away_blocks_nobody(nowhere: str) -> None:
    before = dropped()
    with structlog.testing.capture_logs() as logs:
        tracing.set_up_tracing("trigger", nowhere, 1.0)
        begin = time.perf_counter()
        for number in range(writing.QUEUE_MAX + 2_000):
            record(f"judge {number}")
        recorded = time.perf_counter()
        tracing.shut_down_tracing(timeout=1.0)
    assert recorded - begin < 5
    assert time.perf_counter() - recorded < 2
    assert dropped() - before == writing.QUEUE_MAX + 2_000
    assert [line["event"] for line in logs] == [
        "spans cannot be exported, dropping them",
        "spans dropped, more are made than can be sent",
    ]


def test_a_collector_that_freezes_does_not_hold_up_the_end(
    receiver: tuple[Receiver, str],
) -> None:
    collector, endpoint = receiver
    collector.frozen.clear()
    before = dropped()
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("judge")
    begin = time.perf_counter()
    tracing.shut_down_tracing(timeout=0.5)
    assert time.perf_counter() - begin < 1
    collector.frozen.set()
    assert dropped() - before == 1


def test_a_collector_that_comes_back_gets_what_comes_then(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    collector.failing = 1
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("judge")
    wait_until(lambda: len(collector.spans) == 1)


def test_shutting_down_twice_is_harmless(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    record("before")
    tracing.shut_down_tracing()
    tracing.shut_down_tracing()
    record("after")

    assert [span.name for _, span in collector.spans] == ["before"]


# RPCs.


def test_an_rpc_span_hangs_under_its_caller(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 0.0)
    method = "/beckon.trigger.v1.CampaignService/GetCampaign"
    with tracing.start_rpc_span(method, traceparent=VALID) as span:
        here = tracing.parse_traceparent(tracing.current_traceparent())
        with tracing.start_rpc_span("/beckon.x.v1.Peer/Ask", kind=SpanKind.CLIENT) as call:
            tracing.set_rpc_status(call, grpc.StatusCode.NOT_FOUND)
        tracing.set_rpc_status(span, grpc.StatusCode.NOT_FOUND, "no such campaign")
    tracing.shut_down_tracing()

    server = collector.named("beckon.trigger.v1.CampaignService/GetCampaign")
    assert here == (TRACE, server.span_id, True)
    assert (server.trace_id, server.parent_span_id) == (TRACE, PARENT)
    assert server.kind == Span.SPAN_KIND_SERVER
    assert server.status.code == Status.STATUS_CODE_UNSET, "the caller is at fault"
    assert plain(server.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": "beckon.trigger.v1.CampaignService/GetCampaign",
        "rpc.response.status_code": "NOT_FOUND",
    }
    client = collector.named("beckon.x.v1.Peer/Ask")
    assert (client.trace_id, client.parent_span_id) == (TRACE, server.span_id)
    assert client.status.code == Status.STATUS_CODE_ERROR
    assert collector.spans[0][0]["service.name"] == "trigger"


def test_an_exception_that_passes_is_no_error_by_itself(receiver: tuple[Receiver, str]) -> None:
    """An abort of gRPC raises, also where the caller is at fault."""
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 1.0)

    def abort() -> None:
        with tracing.start_rpc_span("/beckon.x.v1.Peer/Ask") as span:
            tracing.set_rpc_status(span, grpc.StatusCode.NOT_FOUND)
            raise RuntimeError("aborted")

    with pytest.raises(RuntimeError):
        abort()
    tracing.shut_down_tracing()
    span_sent = collector.named("beckon.x.v1.Peer/Ask")
    assert span_sent.status.code == Status.STATUS_CODE_UNSET
    assert not span_sent.events


def test_a_servers_fault_is_an_error(receiver: tuple[Receiver, str]) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, 1.0)
    with tracing.start_rpc_span("/beckon.x.v1.Peer/Ask") as span:
        tracing.set_rpc_status(span, grpc.StatusCode.INTERNAL, "error 17")
    tracing.shut_down_tracing()
    status = collector.named("beckon.x.v1.Peer/Ask").status
    assert (status.code, status.message) == (Status.STATUS_CODE_ERROR, "error 17")


@pytest.mark.parametrize(
    ("ratio", "traceparent", "spans"),
    [(0.0, "", 0), (1.0, "", 1), (0.0, VALID, 1), (1.0, VALID[:-1] + "0", 0), (1.0, "noise", 1)],
)
def test_rpcs_are_sampled_as_the_caller_does_else_by_ratio(
    receiver: tuple[Receiver, str], ratio: float, traceparent: str, spans: int
) -> None:
    collector, endpoint = receiver
    tracing.set_up_tracing("trigger", endpoint, ratio)
    with tracing.start_rpc_span("/beckon.x.v1.Peer/Ask", traceparent=traceparent):
        pass
    tracing.shut_down_tracing()
    assert len(collector.spans) == spans


def wait_until(happened: object) -> None:
    assert callable(happened)
    deadline = time.perf_counter() + 10
    while not happened():
        assert time.perf_counter() < deadline, "did not happen"
        time.sleep(0.02)
