"""Makes sure that what is queued goes out, once, and that everybody hears of it."""

from pathlib import Path

import grpc.aio
from aiohttp import web
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.throttle.v1.throttle_service_pb2 import Settlement
from beckon.type.v1.trace_context_pb2 import TraceContext
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_rpc
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.integration.delivery.peers import Hooks, Inbox, Peers
from tests.integration.delivery.service import (
    EMAIL,
    WEBHOOK,
    a_delivery,
    a_template,
    key_of,
    service,
)
from tests.waiting import eventually


async def test_a_webhook_goes_out_with_its_key_and_its_place_in_the_trace(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    async with service(tmp_path, database_url, peers.address, hooks=hooks.address) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        request = a_delivery(WEBHOOK, trace=TraceContext(trace_id=b"t" * 16, sampled=True))

        created = await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        assert created == 1
        assert shown.attempt_count == 1
        assert shown.HasField("send_time")
        [post] = hooks.posts
        assert post.key == str(key_of(request))
        assert post.body == b'{"to": "ana", "value": 120}'
        assert post.headers["traceparent"].startswith(f"00-{(b't' * 16).hex()}-")
        await eventually(lambda: peers.ingest.types() == ["message_sent"])
        await eventually(
            lambda: (
                peers.throttle.settlements == {request.delivery_id: Settlement.OUTCOME_COMMITTED}
            )
        )
        assert await delivery.stop() == 0


class Collector(trace_rpc.TraceServiceServicer):
    """Keeps spans by name."""

    def __init__(self) -> None:
        self.spans: dict[str, list[trace_pb2.Span]] = {}

    async def Export(
        self, request: trace_pb.ExportTraceServiceRequest, context: object
    ) -> trace_pb.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.name, []).append(span)
        return trace_pb.ExportTraceServiceResponse()


async def test_the_trace_shows_every_try_under_the_delivery(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    collector = Collector()
    server = grpc.aio.server()
    trace_rpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    hooks.behave = lambda _post, _request: (
        web.Response(status=503) if len(hooks.posts) < 2 else None
    )
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    trace = TraceContext(trace_id=b"t" * 16, parent_span_id=b"p" * 8, sampled=True)
    async with service(
        tmp_path, database_url, peers.address, hooks=hooks.address, settings=settings
    ) as delivery:
        await delivery.save(a_template(hook=hooks.address))
        request = a_delivery(WEBHOOK, trace=trace)

        await delivery.create(request)

        await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        await eventually(lambda: {"deliver", "render", "send"} <= set(collector.spans))
        [deliver] = collector.spans["deliver"]
        assert deliver.trace_id == trace.trace_id
        assert deliver.parent_span_id == trace.parent_span_id
        sends = sorted(collector.spans["send"], key=lambda span: span.start_time_unix_nano)
        assert len(sends) == len(collector.spans["render"]) == 2
        assert {span.parent_span_id for span in (*sends, *collector.spans["render"])} == {
            deliver.span_id
        }
        # What the receiver was told is the try that reached it.
        assert [post.headers["traceparent"].split("-")[2] for post in hooks.posts] == [
            span.span_id.hex() for span in sends
        ]
        times = [deliver.start_time_unix_nano]
        times += [
            time for one in sends for time in (one.start_time_unix_nano, one.end_time_unix_nano)
        ]
        assert times == sorted(times)
        assert times[-1] <= deliver.end_time_unix_nano
    await server.stop(0)


async def test_a_mail_goes_to_the_address_the_profile_has_now(
    tmp_path: Path, database_url: str, peers: Peers, inbox: Inbox
) -> None:
    async with service(tmp_path, database_url, peers.address, inbox=inbox.address) as delivery:
        await delivery.save(a_template())
        peers.profiles.emails["workspaces/w/profiles/ana"] = "ana@example.com"
        request = a_delivery(EMAIL)

        await delivery.create(request)

        shown = await delivery.reaches(key_of(request), pb.Delivery.STATE_SENT)
        [mail] = inbox.mails
        assert mail.recipients == ["ana@example.com"]
        assert b"Subject: Hi there\r\n" in mail.content
        assert b"You left 2 things." in mail.content
        assert shown.provider_message_id == f"<{key_of(request)}@localhost>"
        assert "ana@example.com" not in delivery.log.read_text()
