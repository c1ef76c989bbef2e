"""Makes sure that whatever comes in gets a typed, helpful error, and that no process minds."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from beckon.delivery.v1 import template_service_pb2 as template_pb
from beckon.delivery.v1.delivery_service_pb2 import Delivery
from beckon.ingest.v1 import ingest_service_pb2 as ingest_pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as ingest_rpc
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import campaign_service_pb2_grpc as campaign_rpc
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import CHANNEL_WEBHOOK
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from mesh.errors import metadata_of, reason_of, violations_of
from tests.stories.world import TENANT, World, code_of
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    error = await code_of(call)
    return error.code().name, reason_of(error)


async def refused(world: World, bad: Event) -> Status:
    """Send an event between two good ones; return its status, after seeing the others accepted."""
    answer = await world.send(world.event("fine", "ana"), bad, world.event("fine", "eve"))
    assert list(answer.failed_events) == [1], answer
    assert answer.accepted_count == 2
    return answer.failed_events[1]


def fields_of(status: Status) -> list[str]:
    found = error_details_pb2.BadRequest()
    assert any(detail.Unpack(found) for detail in status.details), status
    return [violation.field for violation in found.field_violations]


# Events.


async def test_an_event_of_a_megabyte_is_refused_alone(world: World) -> None:
    status = await refused(world, world.event("large", "ana", text="x" * 1_000_000))

    assert status.code == INVALID
    assert "32,768 bytes" in status.message or fields_of(status) == ["properties"]


async def test_a_batch_of_several_megabytes_is_an_error_and_no_more(world: World) -> None:
    events = [world.event("large", "ana", text="x" * 1_000_000) for _ in range(40)]

    error = await code_of(world.send(*events))

    assert error.code() in {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe{}",
        b'{"a": "\xc3\x28"}',
        b"[1, 2]",
        b"{",
        b'{"a": 1e999999}garbage',
        b'{"a": "\\u0000"}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
async def test_properties_that_are_no_json_object_are_refused(world: World, content: bytes) -> None:
    bad = world.event("odd", "ana")
    bad.properties_json = content

    status = await refused(world, bad)

    assert status.code == INVALID
    assert fields_of(status)[0].startswith("properties")


@pytest.mark.parametrize("field", ["event_id", "type", "profile"])
async def test_a_nul_in_a_name_is_refused(world: World, field: str) -> None:
    bad = world.event("odd", "ana")
    setattr(bad, field, getattr(bad, field) + "\0")

    status = await refused(world, bad)

    assert (status.code, fields_of(status)) == (INVALID, [field])


@pytest.mark.parametrize(
    "seconds",
    [
        int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
        253_402_300_800,
        -62_135_596_800,
        -(2**63),
        2**63 - 1,
        1,
    ],
)
async def test_a_time_that_cannot_be_is_refused(world: World, seconds: int) -> None:
    bad = world.event("odd", "ana")
    bad.occur_time.seconds = seconds

    status = await refused(world, bad)

    assert (status.code, fields_of(status)) == (INVALID, ["occur_time"])


@pytest.mark.parametrize("seconds", [253_402_300_799, -62_135_596_800, 2**63 - 1])
async def test_a_batch_sent_when_no_clock_can_be_is_refused(world: World, seconds: int) -> None:
    request = ingest_pb.IngestEventsRequest(parent=world.parent, events=[world.event("odd", "ana")])
    request.send_time.seconds = seconds

    error = await code_of(world.ingest.IngestEvents(request))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations_of(error)] == ["send_time"]


def raw_ingest(world: World) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """Return IngestEvents for bytes that no client would send."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = world.mesh.channels[
        "ingest"
    ].unary_unary("/beckon.ingest.v1.IngestService/IngestEvents")
    return call


async def test_bytes_that_are_no_message_are_an_error_and_no_more(world: World) -> None:
    call = raw_ingest(world)

    error = await code_of(call(b"\xff\xff\xff\xff"))

    assert error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT}
    await world.all_judged("ana")


async def test_a_name_that_is_not_utf_8_is_an_error_and_no_more(world: World) -> None:
    call = raw_ingest(world)
    event = world.event("odd", "ana", event_id="AAAAAAAA").SerializeToString()
    request = ingest_pb.IngestEventsRequest(parent=world.parent).SerializeToString()
    bad = event.replace(b"AAAAAAAA", b"\xff\xfe\xfd\xfcAAAA")

    error = await code_of(call(request + b"\x12" + bytes([len(bad) & 0x7F | 0x80, 1]) + bad))

    assert error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT}
    await world.all_judged("ana")


async def test_a_batch_over_the_limit_is_refused_whole(world: World) -> None:
    error = await code_of(world.send(*[world.event("fine", "ana") for _ in range(1001)]))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "BATCH_TOO_LARGE"
    assert metadata_of(error) == {"limit": "1000", "got": "1001"}


async def test_a_stream_learns_what_is_wrong_with_its_batch(world: World) -> None:
    call = world.ingest.StreamEvents()
    await call.write(
        ingest_pb.StreamEventsRequest(
            parent=world.parent,
            sequence=1,
            events=[world.event("fine", "ana") for _ in range(1001)],
        )
    )

    async def answers() -> list[ingest_pb.StreamEventsResponse]:
        return [answer async for answer in call]

    error = await code_of(answers())
    assert reason_of(error) in {"BATCH_TOO_LARGE", "QUOTA_EXCEEDED"}


async def test_an_event_of_a_profile_elsewhere_is_refused(world: World) -> None:
    bad = world.event("odd", "ana")
    bad.profile = "workspaces/elsewhere/profiles/ana"

    status = await refused(world, bad)

    assert (status.code, fields_of(status)) == (INVALID, ["profile"])


# Callers.


async def test_a_workspace_that_is_not_the_callers_is_refused(world: World) -> None:
    stub: ingest_rpc.IngestServiceAsyncStub = ingest_rpc.IngestServiceStub(
        world.mesh.tenant_channels["ingest"]
    )
    request = ingest_pb.IngestEventsRequest(
        parent=world.parent, events=[world.event("fine", "ana")]
    )

    error = await code_of(stub.IngestEvents(request))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(error) == "WORKSPACE_FORBIDDEN"
    assert metadata_of(error) == {"caller": TENANT.caller, "workspace": world.workspace}


async def test_a_stream_into_a_workspace_that_is_not_the_callers_is_refused(world: World) -> None:
    stub: ingest_rpc.IngestServiceAsyncStub = ingest_rpc.IngestServiceStub(
        world.mesh.tenant_channels["ingest"]
    )
    call = stub.StreamEvents()
    await call.write(
        ingest_pb.StreamEventsRequest(
            parent=world.parent, sequence=1, events=[world.event("fine", "ana")]
        )
    )

    async def answers() -> list[ingest_pb.StreamEventsResponse]:
        return [answer async for answer in call]

    assert await refusal(answers()) == ("PERMISSION_DENIED", "WORKSPACE_FORBIDDEN")


async def test_a_campaign_may_not_use_a_template_of_another_workspace(world: World) -> None:
    stub: campaign_rpc.CampaignServiceAsyncStub = campaign_rpc.CampaignServiceStub(
        world.mesh.tenant_channels["trigger"]
    )
    request = campaign_pb.CreateCampaignRequest(
        parent=f"workspaces/{TENANT.workspace}",
        campaign_id="theft",
        campaign=a_campaign(world, template=world.name("templates", "note")),
    )

    assert (await refusal(stub.CreateCampaign(request)))[0] in {
        "INVALID_ARGUMENT",
        "PERMISSION_DENIED",
    }


async def test_a_key_without_the_scope_is_told_which_it_lacks(world: World) -> None:
    stub: campaign_rpc.CampaignServiceAsyncStub = campaign_rpc.CampaignServiceStub(
        world.mesh.tenant_channels["trigger"]
    )
    request = campaign_pb.ListCampaignsRequest(parent=f"workspaces/{TENANT.workspace}")

    error = await code_of(stub.ListCampaigns(request))

    assert reason_of(error) == "SCOPE_MISSING"
    assert metadata_of(error)["scope"] == "campaigns:read"


async def test_a_key_nobody_knows_is_refused(world: World) -> None:
    async with grpc.aio.insecure_channel(world.state.services["ingest"]) as channel:
        stub: ingest_rpc.IngestServiceAsyncStub = ingest_rpc.IngestServiceStub(channel)
        request = ingest_pb.IngestEventsRequest(
            parent=world.parent, events=[world.event("fine", "ana")]
        )
        call = stub.IngestEvents(request, metadata=[("authorization", "Bearer nonsense")])

        assert await refusal(call) == ("UNAUTHENTICATED", "CALLER_UNKNOWN")


# Campaigns.


def a_campaign(world: World, *, where: str = "", template: str = "") -> campaign_pb.Campaign:
    return campaign_pb.Campaign(
        trigger=campaign_pb.Trigger(event_type="ordered", filter=where),
        message=campaign_pb.Message(
            channel=CHANNEL_WEBHOOK, template=template or world.name("templates", "note")
        ),
    )


async def creation_error(world: World, campaign: campaign_pb.Campaign) -> grpc.aio.AioRpcError:
    return await code_of(
        world.campaigns.CreateCampaign(
            campaign_pb.CreateCampaignRequest(
                parent=world.parent, campaign_id="bad", campaign=campaign
            )
        )
    )


@pytest.mark.parametrize(
    "where",
    [
        "event.properties.value >",
        "no_such_variable == 1",
        "event.properties.value + 1",
        "((((",
        "no_such_function(1)",
    ],
)
async def test_an_expression_that_does_not_compile_is_refused_with_its_place(
    world: World, where: str
) -> None:
    error = await creation_error(world, a_campaign(world, where=where))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "EXPRESSION_INVALID"
    assert {"expression", "line", "column"} <= metadata_of(error).keys()


async def test_an_expression_of_great_depth_is_refused(world: World) -> None:
    error = await creation_error(world, a_campaign(world, where="(" * 2000 + "true" + ")" * 2000))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) in {"EXPRESSION_INVALID", "EXPRESSION_TOO_COSTLY"}


async def test_an_expression_that_is_too_long_is_refused(world: World) -> None:
    error = await creation_error(world, a_campaign(world, where="true || " * 600 + "true"))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("depth", [2, 3, 6])
async def test_an_expression_that_could_run_too_long_is_refused(world: World, depth: int) -> None:
    nested = "1 > 0"
    for level in range(depth):
        nested = f"event.properties.all.all(x{level}, {nested})"

    error = await creation_error(world, a_campaign(world, where=nested))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "EXPRESSION_TOO_COSTLY"
    assert "limit" in metadata_of(error)


async def test_an_expression_that_fails_on_an_event_is_a_refusal_with_its_reason(
    world: World,
) -> None:
    await world.campaign("order", "ordered", where="event.properties.a / event.properties.b > 1")

    await world.happens(world.event("ordered", "ana", a=1, b=0))

    decision = await world.decided("ana", Decision.STATE_REFUSED)
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("filter", False)
    assert decision.gates[-1].detail


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"delay": -1}, "campaign.delay"),
        ({"delay": 401 * 86_400}, "campaign.delay"),
        ({"type": "Ordered!"}, "campaign.trigger.event_type"),
        ({"type": ""}, "campaign.trigger.event_type"),
        ({"template": "nonsense"}, "campaign.message.template"),
        ({"channel": 0}, "campaign.message.channel"),
        ({"channel": 77}, "campaign.message.channel"),
    ],
)
async def test_a_bad_field_is_named(world: World, change: dict[str, Any], field: str) -> None:
    campaign = a_campaign(world, template=change.get("template", ""))
    campaign.trigger.event_type = change.get("type", "ordered")
    campaign.message.channel = change.get("channel", CHANNEL_WEBHOOK)
    campaign.delay.seconds = change.get("delay", 0)

    error = await creation_error(world, campaign)

    assert (error.code(), reason_of(error)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_INVALID",
    )
    assert field in [violation.field for violation in violations_of(error)]


async def test_an_unknown_field_of_a_campaign_is_named_with_its_line(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(
        "kind: Campaign\nid: cart\ntrigger:\n  event_type: ordered\n  colour: blue\n"
        "message:\n  channel: webhook\n  template: note\n"
    )

    code, output = await beckon(world, "apply", "-f", str(file))

    assert code != 0
    assert "colour" in output
    assert "campaign.yaml" in output


async def beckon(world: World, *arguments: str) -> tuple[int, str]:
    """Run the command on the mesh; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *arguments,
        "--workspace",
        world.workspace,
        "--stack",
        str(world.state.folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ, COLUMNS="200"),
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


# Templates.


def a_template(world: World, body: str) -> template_pb.UpdateTemplateRequest:
    return template_pb.UpdateTemplateRequest(
        template=template_pb.Template(
            name=world.name("templates", "bad"),
            webhook=template_pb.WebhookPart(url=world.sink_url, body=body),
        ),
        allow_missing=True,
    )


@pytest.mark.parametrize(
    "body",
    [
        "{{ customer.name | tojson }}",
        "{{ profile.id | no_such_filter }}",
        "{% for %}",
        "{{ ''.__class__.__mro__ }}",
        "{% include '/etc/passwd' %}",
    ],
)
async def test_a_template_that_cannot_be_is_refused(world: World, body: str) -> None:
    error = await code_of(world.templates.UpdateTemplate(a_template(world, body)))

    assert (error.code(), reason_of(error)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "TEMPLATE_INVALID",
    )


@pytest.mark.parametrize(
    "body",
    [
        "[{% for i in range(1000000000) %}{% endfor %}1]",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}1",
        "{{ ('x' * 1000000000) | tojson }}",
        "{{ (9 ** (9 ** 9)) | tojson }}",
    ],
)
async def test_a_template_that_costs_too_much_is_refused(world: World, body: str) -> None:
    error = await code_of(world.templates.UpdateTemplate(a_template(world, body)))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) in {"TEMPLATE_TOO_COSTLY", "TEMPLATE_INVALID"}


async def test_data_that_makes_a_template_cost_too_much_fails_its_own_message_only(
    world: World,
) -> None:
    each = "{% for i in event.properties.all %}"
    body = each * 4 + "{% endfor %}" * 4 + "{{ event.id | tojson }}"
    await world.campaign("loop", "looped", template=await world.template(body))

    bad = world.event("looped", "ana", all=[0] * 10_000)
    good = world.event("looped", "eve", all=[0])
    await world.happens(bad, good)

    decision = await world.decided("ana", Decision.STATE_SENT)
    assert await eventually(world.webhooks) == [good.event_id]

    async def state() -> "Delivery.State.ValueType":
        return (await world.delivery(decision.delivery)).state

    await eventually(state, lambda found: found == Delivery.STATE_FAILED)


async def test_a_webhook_to_a_host_that_is_not_allowed_is_refused(world: World) -> None:
    request = a_template(world, "1")
    request.template.webhook.url = "http://169.254.169.254/latest/meta-data"

    assert await refusal(world.templates.UpdateTemplate(request)) == (
        "INVALID_ARGUMENT",
        "HOST_FORBIDDEN",
    )


async def test_data_that_is_missing_fails_the_message_and_names_the_path(world: World) -> None:
    template = await world.template("{{ event.properties.colour | tojson }}")
    await world.campaign("order", "ordered", template=template)

    await world.happens(world.event("ordered", "ana"))
    decision = await world.decided("ana", Decision.STATE_SENT)

    async def delivery() -> Delivery:
        return await world.delivery(decision.delivery)

    failed = await eventually(delivery, lambda found: found.state == Delivery.STATE_FAILED)
    assert "event.properties.colour" in failed.error
    assert await world.told() == []


# Everything at once.


async def test_events_of_every_odd_shape_are_judged_or_refused(world: World) -> None:
    """Whatever the door accepts must come through; nothing may stop the worker."""
    await world.campaign("any", "odd", where="event.properties.value > 1")
    shapes: Sequence[object] = [
        None,
        True,
        "text",
        -1,
        1.5,
        1e308,
        2**70,
        [],
        {},
        {"value": {"value": 1}},
        "\ud7ff",
        "\U0001f600" * 100,
    ]
    events = [world.event("odd", f"p{number}") for number in range(len(shapes))]
    for event, shape in zip(events, shapes, strict=True):
        event.properties_json = json.dumps({"value": shape}).encode()

    await world.send(*events)

    await world.all_judged(*(f"p{number}" for number in range(len(shapes))))
