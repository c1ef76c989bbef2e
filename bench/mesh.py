"""Runs the mesh for a measurement: whole, or ingest alone on its Redis."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from beckon.delivery.v1 import template_service_pb2, template_service_pb2_grpc
from beckon.throttle.v1 import frequency_cap_service_pb2, frequency_cap_service_pb2_grpc
from beckon.trigger.v1 import campaign_service_pb2, campaign_service_pb2_grpc
from beckon.type.v1 import channel_pb2
from google.protobuf.duration_pb2 import Duration

from bench import campaign
from bench.load.events import WORKSPACE
from bench.load.remote import program
from bench.load.spec import Kind
from stack import processes
from stack.keys import make_keys
from stack.ports import HOST, free_ports
from stack.servers import redis
from stack.state import State
from stack.up import Stack

_UNTRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "BECKON_TRACE_RATIO": "0"}

_PARENT = f"workspaces/{WORKSPACE}"


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh, or its ingest."""

    target: str
    key: str
    pids: list[int]
    kind: Kind = Kind.STREAM
    batch_size: int = 500


@asynccontextmanager
async def mesh(folder: Path, *, webhook_url: str, traced: bool = True) -> AsyncIterator[Mesh]:
    """Run the whole mesh with the one campaign for the length of a block.

    Traced means at the default of a deployment, not of development: what leads to a message, and a hundredth of the rest.
    """
    async with AsyncExitStack() as exits:
        settings = dict(await _tracing(exits) if traced else _UNTRACED)
        settings["DELIVERY_WEBHOOK_ALLOWED_HOSTS"] = HOST
        stack = await exits.enter_async_context(
            Stack(folder, ports="auto", settings=settings, sinks="none", collector=False)
        )
        await _launch_campaign(stack.state, webhook_url)
        pids = [stack.pid(name) for name in stack.processes]
        yield Mesh(stack.state.services["ingest"], stack.state.admin_key, pids)


@asynccontextmanager
async def ingest_alone(folder: Path) -> AsyncIterator[Mesh]:
    """Run ingest on a Redis of its own for the length of a block: nobody reads the log."""
    async with AsyncExitStack() as exits:
        log = await exits.enter_async_context(redis(folder / "redis"))
        keyring, files = make_keys(folder / "keys", ["ingest"])
        port, metrics_port = free_ports(2)
        environment = {
            **os.environ,
            **await _tracing(exits),
            "BECKON_LOG_URL": log.url,
            "BECKON_KEYS_FILE": str(keyring),
            "INGEST_KEY_FILE": str(files["ingest"]),
            "INGEST_ADDRESS": f"{HOST}:{port}",
            "INGEST_METRICS_ADDRESS": f"{HOST}:{metrics_port}",
        }
        child = processes.start(
            [sys.executable, "-m", "services.ingest"],
            log=folder / "ingest.log",
            environment=environment,
        )
        exits.push_async_callback(child.stop)
        key = files["admin"].read_text().strip()
        try:
            await _until_ready(f"{HOST}:{port}")
        except grpc.RpcError as error:
            raise RuntimeError(f"ingest did not start:\n{processes.tail(child.log)}") from error
        yield Mesh(f"{HOST}:{port}", key, [log.pid, child.pid])


async def _tracing(exits: AsyncExitStack) -> dict[str, str]:
    """Run a collector that forgets, and return the settings that send spans to it."""
    port, _ = await exits.enter_async_context(program("bench.load.spans"))
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}", "BECKON_TRACE_RATIO": "0.01"}


async def _until_ready(target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )
        await call(b"", wait_for_ready=True, timeout=30)


async def _launch_campaign(state: State, webhook_url: str) -> None:
    """Write the template, the cap and the campaign through the public API, and launch it."""
    metadata = [("authorization", f"Bearer {state.admin_key}")]
    async with grpc.aio.insecure_channel(state.services["delivery"]) as channel:
        await template_service_pb2_grpc.TemplateServiceStub(channel).UpdateTemplate(
            template_service_pb2.UpdateTemplateRequest(
                template=template_service_pb2.Template(
                    name=f"{_PARENT}/templates/{campaign.ID}",
                    webhook=template_service_pb2.WebhookPart(url=webhook_url, body=campaign.BODY),
                ),
                allow_missing=True,
            ),
            metadata=metadata,
        )
    async with grpc.aio.insecure_channel(state.services["throttle"]) as channel:
        await frequency_cap_service_pb2_grpc.FrequencyCapServiceStub(channel).UpdateFrequencyCap(
            frequency_cap_service_pb2.UpdateFrequencyCapRequest(
                frequency_cap=frequency_cap_service_pb2.FrequencyCap(
                    name=f"{_PARENT}/frequencyCaps/day",
                    channel=channel_pb2.CHANNEL_WEBHOOK,
                    limit=campaign.CAP_PER_DAY,
                    rolling=Duration(seconds=86_400),
                ),
                allow_missing=True,
            ),
            metadata=metadata,
        )
    async with grpc.aio.insecure_channel(state.services["trigger"]) as channel:
        stub = campaign_service_pb2_grpc.CampaignServiceStub(channel)
        created = await stub.CreateCampaign(
            campaign_service_pb2.CreateCampaignRequest(
                parent=_PARENT, campaign_id=campaign.ID, campaign=_campaign()
            ),
            metadata=metadata,
        )
        await stub.LaunchCampaign(
            campaign_service_pb2.LaunchCampaignRequest(name=created.name), metadata=metadata
        )


def _campaign() -> campaign_service_pb2.Campaign:
    return campaign_service_pb2.Campaign(
        trigger=campaign_service_pb2.Trigger(
            event_type=campaign.EVENT_TYPE,
            filter=f"event.properties.value > {campaign.VALUE_OVER}.0",
        ),
        reentry_interval=Duration(),
        message=campaign_service_pb2.Message(
            channel=channel_pb2.CHANNEL_WEBHOOK, template=f"{_PARENT}/templates/{campaign.ID}"
        ),
    )
