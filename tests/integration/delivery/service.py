"""The real process of delivery, as the supervisor starts it, and requests to it."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from uuid import UUID, uuid4

import grpc
import grpc.aio
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as rpc
from beckon.delivery.v1 import template_service_pb2 as template_pb
from beckon.delivery.v1 import template_service_pb2_grpc as template_rpc
from beckon.type.v1.channel_pb2 import CHANNEL_EMAIL, CHANNEL_WEBHOOK
from beckon.type.v1.trace_context_pb2 import TraceContext
from google.protobuf.timestamp_pb2 import Timestamp

from mesh import client
from mesh.callers import key_entry
from stack.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
FAR = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
KEY = "key-of-tests"
_NOT_YET = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass
class Service:
    """One delivery process and its stubs."""

    environment: dict[str, str]
    address: str
    log: Path
    deliveries: "rpc.DeliveryServiceAsyncStub"
    templates: "template_rpc.TemplateServiceAsyncStub"
    process: asyncio.subprocess.Process | None = None
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.delivery",
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self.started.append(self.process)

        async def serves() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()[-3000:]
            await self.deliveries.ListDeliveries(
                pb.ListDeliveriesRequest(parent="workspaces/w"), timeout=1
            )
            return True

        await eventually(serves, limit=30)

    async def kill(self) -> None:
        """End it as kill -9 does."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it in order; return how it ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def save(self, template: template_pb.Template) -> template_pb.Template:
        return await self.templates.UpdateTemplate(
            template_pb.UpdateTemplateRequest(template=template, allow_missing=True)
        )

    async def create(self, *requests: pb.CreateDeliveryRequest) -> int:
        response = await self.deliveries.BatchCreateDeliveries(
            pb.BatchCreateDeliveriesRequest(requests=requests)
        )
        return response.created_count

    async def get(self, key: UUID) -> pb.Delivery:
        return await self.deliveries.GetDelivery(
            pb.GetDeliveryRequest(name=f"workspaces/w/deliveries/{key}")
        )

    async def reaches(self, key: UUID, state: "pb.Delivery.State.ValueType") -> pb.Delivery:
        """Return the delivery once it is in the state."""
        found: list[pb.Delivery] = []

        async def there() -> bool:
            found[:] = [await self.get(key)]
            return found[0].state == state

        try:
            await eventually(there)
        except AssertionError:
            raise AssertionError(f"{found}\n{self.log.read_text()[-3000:]}") from None
        return found[0]


@asynccontextmanager
async def service(
    folder: Path,
    database_url: str,
    peers_address: str,
    *,
    hooks: str = "",
    inbox: tuple[str, int] = ("127.0.0.1", 9),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Service]:
    """Run delivery until the end of the block."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps([key_entry("tests", KEY)]))
    (folder / "key").write_text(KEY)
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        "DELIVERY_DATABASE_URL": database_url,
        "DELIVERY_ADDRESS": address,
        "DELIVERY_METRICS_ADDRESS": "off",
        "DELIVERY_KEY_FILE": str(folder / "key"),
        "BECKON_KEYS_FILE": str(keys),
        "DELIVERY_PROFILE_TARGET": peers_address,
        "DELIVERY_THROTTLE_TARGET": peers_address,
        "DELIVERY_INGEST_TARGET": peers_address,
        "DELIVERY_WEBHOOK_ALLOWED_HOSTS": hooks,
        "DELIVERY_SMTP_URL": f"smtp://{inbox[0]}:{inbox[1]}",
        "DELIVERY_POLL_SECONDS": "100ms",
        "DELIVERY_RETRY_FIRST_SECONDS": "200ms",
        "BECKON_DRAIN_SECONDS": "0",
        "BECKON_GRACE_SECONDS": "5",
        **settings,
    }
    async with client.connect(address, key=KEY, service="delivery") as channel:
        running = Service(
            environment,
            address,
            folder / "delivery.log",
            rpc.DeliveryServiceStub(channel),
            template_rpc.TemplateServiceStub(channel),
        )
        try:
            await running.start()
            yield running
        finally:
            for process in running.started:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def a_template(
    name: str = "cart", *, hook: str = "", body: str = "", email: bool = True
) -> template_pb.Template:
    """Return a valid template."""
    template = template_pb.Template(name=f"workspaces/w/templates/{name}")
    if email:
        template.email.subject = "Hi {{ profile.attributes.first_name }}"
        template.email.text = "You left {{ event.properties.items|length }} things."
    if hook:
        template.webhook.url = f"http://{hook}/hook"
        template.webhook.body = (
            body or '{"to": {{ profile.id|tojson }}, "value": {{ event.properties.value|tojson }}}'
        )
    template.defaults["profile.attributes.first_name"].string_value = "there"
    return template


def a_delivery(
    channel: int = CHANNEL_WEBHOOK,
    *,
    key: UUID | None = None,
    profile: str = "ana",
    template: str = "cart",
    value: object = 120,
    expire_seconds: int = FAR,
    data: bytes | None = None,
    trace: TraceContext | None = None,
) -> pb.CreateDeliveryRequest:
    """Return a valid request."""
    content = {
        "event": {"id": "e1", "type": "cart_left", "properties": {"value": value, "items": [1, 2]}},
        "profile": {"id": profile, "attributes": {}},
    }
    return pb.CreateDeliveryRequest(
        delivery_id=(key or uuid4()).bytes,
        profile=f"workspaces/w/profiles/{profile}",
        campaign="workspaces/w/campaigns/cart",
        channel=channel,  # type: ignore[arg-type]
        template=f"workspaces/w/templates/{template}",
        data_json=json.dumps(content).encode() if data is None else data,
        expire_time=Timestamp(seconds=expire_seconds),
        trace=trace,
    )


def key_of(request: pb.CreateDeliveryRequest) -> UUID:
    """Return the delivery's id."""
    return UUID(bytes=request.delivery_id)


EMAIL = CHANNEL_EMAIL
WEBHOOK = CHANNEL_WEBHOOK
