"""Wires trigger together. Nothing here decides anything."""

from contextlib import AsyncExitStack
from pathlib import Path

from beckon.trigger.v1 import (
    broadcast_service_pb2_grpc,
    campaign_service_pb2_grpc,
    decision_service_pb2_grpc,
    quarantine_service_pb2_grpc,
    region_service_pb2_grpc,
    settings_service_pb2_grpc,
)

from mesh import client, postgres, process
from mesh.clock import SystemClock
from mesh.eventlog import START, open_log
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import Service, serve
from services.trigger.clients import Delivery, Peers, Profile, Throttle
from services.trigger.config import Config
from services.trigger.servicer import (
    BroadcastServicer,
    CampaignServicer,
    DecisionServicer,
    Explaining,
    QuarantineServicer,
    RegionServicer,
    Requests,
    SettingsServicer,
    Watching,
)
from services.trigger.store import (
    BackfillStore,
    BroadcastStore,
    CampaignStore,
    EnrollmentStore,
    QuarantineStore,
    RecordStore,
    RegionStore,
    RequestStore,
    SettingsStore,
    WatchStore,
)
from services.trigger.worker import Worker

SCHEMA = "trigger"
MIGRATIONS = Path(__file__).parent / "migrations"


async def main(config: Config) -> None:
    """Serve and work until told to stop."""
    clock = SystemClock()
    await migrate(config.database_url, schema=SCHEMA, folder=MIGRATIONS)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            postgres.connect(config.database_url, schema=SCHEMA, size=config.database_size)
        )
        event_log = await stack.enter_async_context(open_log(config.log))
        profile, throttle, delivery = [
            await stack.enter_async_context(client.connect(target, key=config.key, service=service))
            for service, target in (
                ("profile", config.profile_target),
                ("throttle", config.throttle_target),
                ("delivery", config.delivery_target),
            )
        ]
        peers = Peers(Profile(profile), Throttle(throttle), Delivery(delivery))
        # Without an endpoint spans go nowhere: not even those asked for are made.
        ratio = config.telemetry.trace_ratio if config.telemetry.otlp_endpoint else None
        worker = Worker(database, event_log, peers, clock, config.worker, trace_ratio=ratio)
        tokens = PageTokens.from_keys_file(config.server.keys_file)
        enrollments = EnrollmentStore(database, partitions=event_log.partitions)
        watching = Watching(peers.profile, WatchStore(database), BackfillStore(database))
        requests = Requests(
            RequestStore(database),
            clock,
            admit=worker.admissions.admit,
            people=peers.profile.people,
        )
        campaigns = CampaignServicer(
            CampaignStore(database),
            enrollments,
            tokens,
            clock,
            watching=watching,
            requests=requests,
        )
        broadcasts = BroadcastServicer(
            BroadcastStore(database),
            tokens,
            clock,
            account=worker.broadcasts.account,
            ring=worker.broadcasts.ring,
        )
        explaining = Explaining(database, peers, clock, retention=config.worker.retention)
        decisions = DecisionServicer(RecordStore(database), tokens, explaining=explaining)
        quarantine = QuarantineServicer(QuarantineStore(database), tokens, clock)
        settings = SettingsServicer(SettingsStore(database), clock)
        regions = RegionServicer(RegionStore(database), tokens, clock)

        async def log_answers() -> None:
            await event_log.oldest_unread({0: START})

        await serve(
            config.server,
            [
                Service(
                    lambda s: campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(
                        campaigns, s
                    ),
                    "beckon.trigger.v1.CampaignService",
                ),
                Service(
                    lambda s: broadcast_service_pb2_grpc.add_BroadcastServiceServicer_to_server(
                        broadcasts, s
                    ),
                    "beckon.trigger.v1.BroadcastService",
                ),
                Service(
                    lambda s: decision_service_pb2_grpc.add_DecisionServiceServicer_to_server(
                        decisions, s
                    ),
                    "beckon.trigger.v1.DecisionService",
                ),
                Service(
                    lambda s: quarantine_service_pb2_grpc.add_QuarantineServiceServicer_to_server(
                        quarantine, s
                    ),
                    "beckon.trigger.v1.QuarantineService",
                ),
                Service(
                    lambda s: settings_service_pb2_grpc.add_SettingsServiceServicer_to_server(
                        settings, s
                    ),
                    "beckon.trigger.v1.SettingsService",
                ),
                Service(
                    lambda s: region_service_pb2_grpc.add_RegionServiceServicer_to_server(
                        regions, s
                    ),
                    "beckon.trigger.v1.RegionService",
                ),
            ],
            checks={"postgres": database.ping, "log": log_answers},
            workers=[worker.run],
        )


if __name__ == "__main__":
    process.start("trigger", Config, main)
