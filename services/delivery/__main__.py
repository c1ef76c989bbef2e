"""Wires delivery together. Nothing here decides anything."""

import random
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from beckon.delivery.v1 import delivery_service_pb2_grpc as delivery_rpc
from beckon.delivery.v1 import erasure_service_pb2_grpc as erasure_rpc
from beckon.delivery.v1 import template_service_pb2_grpc as template_rpc

from mesh import client, migrations, postgres, process, server
from mesh.clock import Clock, SystemClock
from mesh.pages import PageTokens
from mesh.server import Service
from services.delivery.clients import IngestClient, ProfileClient, ThrottleClient
from services.delivery.config import Config
from services.delivery.model import Channel, Peer
from services.delivery.providers import SmtpProvider, WebhookProvider
from services.delivery.render import Renderer
from services.delivery.servicer import (
    DeliveryServicer,
    ErasureServicer,
    Lanes,
    TemplateServicer,
)
from services.delivery.store import DeliveryStore, ErasureStore, Outbox, TemplateStore
from services.delivery.worker import (
    EmailPreparer,
    Janitor,
    Lane,
    LaneLimits,
    Relay,
    Settler,
    Sources,
    WebhookPreparer,
    Workers,
)

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "delivery"


async def main(config: Config) -> None:
    """Serve until told to stop."""
    await migrations.migrate(config.database_url, schema=SCHEMA, folder=MIGRATIONS)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        db = await stack.enter_async_context(
            postgres.connect(config.database_url, schema=SCHEMA, size=config.database_connections)
        )
        profile, throttle, ingest = [
            await stack.enter_async_context(client.connect(target, key=config.key, service=peer))
            for peer, target in (
                ("profile", config.profile_target),
                ("throttle", config.throttle_target),
                ("ingest", config.ingest_target),
            )
        ]
        renderer, trial = [
            await stack.enter_async_context(Renderer(limits))
            for limits in (config.render_limits, config.trial_limits)
        ]
        smtp = await stack.enter_async_context(_smtp(config, clock))
        webhook = await stack.enter_async_context(_webhook(config, clock))
        store, templates, outbox = DeliveryStore(db), TemplateStore(db), Outbox(db)
        erasure_store = ErasureStore(db)
        relay = Relay(
            outbox,
            {Peer.THROTTLE: ThrottleClient(throttle), Peer.INGEST: IngestClient(ingest)},
            clock,
            poll=config.poll,
        )
        settler = Settler(store, clock, tell=relay.take)
        sources = Sources(templates)
        email_lane = Lane(
            Channel.EMAIL,
            store=store,
            preparer=EmailPreparer(
                sources=sources,
                renderer=renderer,
                clock=clock,
                addresses=ProfileClient(profile),
                sender=config.email_sender,
            ),
            provider=smtp,
            settler=settler,
            clock=clock,
            policy=config.policy,
            limits=_limits(config, config.smtp_connections, config.smtp_timeout),
            draw=random.random,
        )
        webhook_lane = Lane(
            Channel.WEBHOOK,
            store=store,
            preparer=WebhookPreparer(
                sources=sources,
                renderer=renderer,
                clock=clock,
                allowed=config.webhook_allowed_hosts,
            ),
            provider=webhook,
            settler=settler,
            clock=clock,
            policy=config.policy,
            limits=_limits(config, config.webhook_connections, config.webhook_timeout),
            draw=random.random,
        )
        lanes: Lanes = {Channel.EMAIL: email_lane, Channel.WEBHOOK: webhook_lane}
        janitor = Janitor(
            store,
            erasure_store,
            clock,
            repeat_safe={channel: lane.repeat_safe for channel, lane in lanes.items()},
            poll=config.poll,
            retention=config.retention,
        )
        tokens = PageTokens.from_keys_file(config.server.keys_file)
        deliveries = DeliveryServicer(store, erasure_store, lanes, clock, tokens=tokens)
        erasures = ErasureServicer(erasure_store, store, lanes, relay, clock)
        template_servicer = TemplateServicer(
            templates,
            trial,
            clock,
            allowed=config.webhook_allowed_hosts,
            tokens=tokens,
            part_bytes_max=config.part_bytes_max,
        )
        await server.serve(
            config.server,
            [
                Service(
                    lambda s: delivery_rpc.add_DeliveryServiceServicer_to_server(deliveries, s),
                    "beckon.delivery.v1.DeliveryService",
                ),
                Service(
                    lambda s: erasure_rpc.add_ErasureServiceServicer_to_server(erasures, s),
                    "beckon.delivery.v1.ErasureService",
                ),
                Service(
                    lambda s: template_rpc.add_TemplateServiceServicer_to_server(
                        template_servicer, s
                    ),
                    "beckon.delivery.v1.TemplateService",
                ),
            ],
            checks={"postgres": db.ping},
            workers=[Workers([email_lane, webhook_lane], settler, relay, janitor).run],
            self_validating=frozenset(
                {
                    "beckon.delivery.v1.DeliveryService/BatchCreateDeliveries",
                    "beckon.delivery.v1.DeliveryService/BatchCancelDeliveries",
                    "beckon.delivery.v1.TemplateService/UpdateTemplate",
                }
            ),
        )


def _smtp(config: Config, clock: Clock) -> SmtpProvider:
    return SmtpProvider(
        host=config.smtp.host,
        port=config.smtp.port,
        tls=config.smtp.tls,
        starttls=config.smtp.starttls,
        user=config.smtp.user,
        password=config.smtp_password,
        timeout=config.smtp_timeout,
        tls_context=config.smtp_authorities,
        clock=clock,
    )


def _webhook(config: Config, clock: Clock) -> WebhookProvider:
    return WebhookProvider(
        allowed=config.webhook_allowed_hosts,
        timeout=config.webhook_timeout,
        connections=config.webhook_connections,
        tls=config.webhook_authorities,
        clock=clock,
    )


def _limits(config: Config, connections: int, timeout: timedelta) -> LaneLimits:
    """Return the limits of a lane: as many in flight as its provider has connections."""
    return LaneLimits(
        held_max=config.held_max,
        in_flight_max=connections,
        lease=config.lease_of(timeout),
        timeout=timeout,
        poll=config.poll,
    )


if __name__ == "__main__":
    process.start("delivery", Config, main)
