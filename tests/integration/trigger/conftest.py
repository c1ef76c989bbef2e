"""Trigger on a real PostgreSQL and a real Redis, with its peers in memory behind sockets."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
import pytest_asyncio

from mesh import client, postgres
from mesh.eventlog.redis_streams import RedisStreams
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.postgres import Database
from mesh.settings import load
from services.trigger.__main__ import MIGRATIONS
from services.trigger.clients import Delivery, Peers, Profile, Throttle
from services.trigger.config import WorkerSettings
from services.trigger.servicer import (
    CampaignServicer,
    DecisionServicer,
    Explaining,
    QuarantineServicer,
    RegionServicer,
    Requests,
    Watching,
)
from services.trigger.store import (
    BackfillStore,
    CampaignStore,
    EnrollmentStore,
    QuarantineStore,
    RecordStore,
    RegionStore,
    RequestStore,
    WatchStore,
)
from services.trigger.worker import Worker
from tests.integration.trigger.house import PARTITIONS, FakeClock, House
from tests.integration.trigger.peers import memory_peers

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def migrated_url(postgres_url: str) -> str:
    await migrate(postgres_url, schema="trigger", folder=MIGRATIONS)
    return postgres_url


@pytest.fixture
async def house(migrated_url: str, redis_url: str) -> AsyncIterator[House]:
    """Trigger on empty stores, with one worker that holds every partition."""
    clock = FakeClock()
    settings = replace(
        load(WorkerSettings, {}),
        read_wait=timedelta(milliseconds=1),
    )
    async with (
        postgres.connect(migrated_url, schema="trigger", size=12) as database,
        RedisStreams.connect(
            redis_url,
            partitions=PARTITIONS,
            allow_lossy=True,
            prefix=f"test:{next(_numbers)}",
        ) as event_log,
        memory_peers() as memory,
        client.connect(memory.address, key="k", service="profile") as profile,
        client.connect(memory.address, key="k", service="throttle") as throttle,
        client.connect(memory.address, key="k", service="delivery") as delivery,
    ):
        await _empty(database)
        peers = Peers(Profile(profile), Throttle(throttle), Delivery(delivery))
        tokens = PageTokens(b"secret")
        enrollments = EnrollmentStore(database, partitions=PARTITIONS)
        worker = Worker(database, event_log, peers, clock, settings, name="one", trace_ratio=0.0)
        await worker.prepare()
        await worker.partitions.run_once()
        yield House(
            database=database,
            log=event_log,
            memory=memory,
            peers=peers,
            clock=clock,
            settings=settings,
            campaigns=CampaignServicer(
                CampaignStore(database),
                enrollments,
                tokens,
                clock,
                requests=Requests(
                    RequestStore(database),
                    clock,
                    admit=worker.admissions.admit,
                    people=peers.profile.people,
                ),
                watching=Watching(peers.profile, WatchStore(database), BackfillStore(database)),
            ),
            decisions=DecisionServicer(
                RecordStore(database),
                tokens,
                explaining=Explaining(database, peers, clock, retention=settings.retention),
            ),
            regions=RegionServicer(RegionStore(database), tokens, clock),
            quarantine=QuarantineServicer(QuarantineStore(database), tokens, clock),
            worker=worker,
        )


async def _empty(database: Database) -> None:
    async with database.connection() as connection:
        tables: str = await connection.fetchval(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'trigger' AND tablename NOT IN ('catalogue', 'schema_migrations')"
        )
        await connection.execute(f"TRUNCATE {tables}")
        await connection.execute("UPDATE catalogue SET version = version + 1")
