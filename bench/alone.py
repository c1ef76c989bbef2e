"""Trigger's worker and its campaigns in this process, on real servers, its peers quiet."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter

import msgspec
import structlog
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.type.v1.channel_pb2 import Channel

from bench.quiet import QuietDelivery, QuietProfile, QuietThrottle
from mesh import postgres
from mesh.eventlog.redis_streams import RedisStreams
from mesh.ids import shard_of
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.postgres import Database
from mesh.server import COLLECTOR_THRESHOLDS, Stopping
from mesh.settings import load
from services.trigger.__main__ import MIGRATIONS
from services.trigger.clients import Peers, Profile
from services.trigger.config import WorkerSettings
from services.trigger.servicer import CampaignServicer, Requests, Watching
from services.trigger.store import (
    BackfillStore,
    CampaignStore,
    EnrollmentStore,
    RequestStore,
    WatchStore,
)
from services.trigger.worker import Worker
from services.trigger.worker.lanes import Lane

WORKSPACE = "acme"
PARTITIONS = 16
BATCH = 500
PEOPLE = 10_000
_WARNING = 40
_PROPERTIES = msgspec.json.encode(
    {"value": 123.45, "currency": "EUR", "items": [{"sku": "a-1", "price": 10.5, "count": 2}]}
)


class LateClock:
    """This machine's clock, or as far ahead of it as is asked for."""

    def __init__(self) -> None:
        """Be on time."""
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True)
class Trigger:
    """The worker, put together but not running."""

    worker: Worker
    campaigns: CampaignServicer
    quiet: QuietProfile
    log: RedisStreams
    database: Database
    clock: LateClock

    async def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Have events in the log that profile can be asked about."""
        self.quiet.show(payload for _, payload in records)
        await self.log.append(records)

    async def launch(self, campaign: pb.Campaign, campaign_id: str) -> None:
        """Create a campaign and have it in force."""
        made = await self.campaigns.CreateCampaign(
            pb.CreateCampaignRequest(
                parent=f"workspaces/{WORKSPACE}", campaign_id=campaign_id, campaign=campaign
            ),
            None,
        )
        await self.campaigns.LaunchCampaign(pb.LaunchCampaignRequest(name=made.name), None)

    async def begin(self) -> None:
        """Take hold of all partitions, with the campaigns that are in force now."""
        await self.worker.prepare()
        await self.worker.partitions.run_once()
        await self.worker.catalogues.reload()

    async def work_off(self) -> float:
        """Judge and relay all that is in the log; return how many seconds that took."""

        async def read(lane: Lane, stopping: Stopping) -> None:
            while await lane.run_once(stopping):
                pass

        async def judge(stopping: Stopping) -> None:
            await asyncio.gather(*(read(lane, stopping) for lane in self.worker.lanes))

        return await self.relaying(judge)

    async def relaying(self, work: Callable[[Stopping], Awaitable[None]]) -> float:
        """Do some work beside the relay; return the seconds until all that it released is settled."""
        stopping = Stopping()
        async with asyncio.TaskGroup() as group:
            relaying = group.create_task(self.worker.relay.run(stopping))
            begun = perf_counter()
            await work(stopping)
            while self.worker.relay.owed:  # noqa: ASYNC110 — the relay has nobody else to tell
                await asyncio.sleep(0.002)
            seconds = perf_counter() - begun
            stopping.set()
            # Its lanes look up once a second, and it owes nothing.
            relaying.cancel()
        return seconds


@asynccontextmanager
async def alone(
    database_url: str, log_url: str, *, profile: Profile | None = None
) -> AsyncIterator[Trigger]:
    """Put trigger together on an empty database and log; a `profile` that is given is asked."""
    await migrate(database_url, schema="trigger", folder=MIGRATIONS)
    async with (
        postgres.connect(database_url, schema="trigger", size=12) as database,
        RedisStreams.connect(log_url, partitions=PARTITIONS) as log,
    ):
        quiet, clock = QuietProfile(), LateClock()
        peers = Peers(profile or quiet, QuietThrottle(), QuietDelivery())  # type: ignore[arg-type]
        settings = replace(load(WorkerSettings, {}), read_wait=timedelta(milliseconds=5))
        worker = Worker(database, log, peers, clock, settings)
        campaigns = CampaignServicer(
            CampaignStore(database),
            EnrollmentStore(database, partitions=PARTITIONS),
            PageTokens(b"x"),
            clock,
            watching=Watching(peers.profile, WatchStore(database), BackfillStore(database)),
            requests=Requests(
                RequestStore(database),
                clock,
                admit=worker.admissions.admit,
                people=peers.profile.people,
            ),
        )
        yield Trigger(worker, campaigns, quiet, log, database, clock)


def a_campaign(beginning: pb.Trigger) -> pb.Campaign:
    """Return a campaign of one message, for everybody as often as it begins."""
    campaign = pb.Campaign(
        trigger=beginning,
        message=pb.Message(
            channel=Channel.CHANNEL_WEBHOOK, template=f"workspaces/{WORKSPACE}/templates/order"
        ),
    )
    campaign.reentry_interval.SetInParent()
    return campaign


def records(start: int, type_of: Callable[[int], str]) -> list[tuple[int, bytes]]:
    """Return a batch as ingest appends it, with partitions; `type_of` says what each event is."""
    made: dict[int, list[Event]] = {}
    for number in range(start, start + BATCH):
        person = f"person-{number % PEOPLE}"
        event = Event(
            event_id=f"event-{number}",
            type=type_of(number),
            profile=f"workspaces/{WORKSPACE}/profiles/{person}",
            properties_json=_PROPERTIES,
        )
        event.occur_time.FromDatetime(datetime.now(UTC))
        made.setdefault(shard_of(WORKSPACE, person) % PARTITIONS, []).append(event)
    now = int(datetime.now(UTC).timestamp() * 1e6)
    return [
        (
            partition,
            LogRecord(workspace=WORKSPACE, receive_time_us=now, events=some).SerializeToString(),
        )
        for partition, some in made.items()
    ]


def as_a_service() -> None:
    """Collect garbage and log as a service's own process does, but for what it says often."""
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_WARNING))
