"""What trigger's own process spends on an event and on a message, its peers' calls left out.

Run: `python -m bench.trigger_cost`. PostgreSQL and Redis are real; profile, throttle and delivery
answer in the process from answers made beforehand, so that what is counted is reading the log,
judging, committing and settling.
"""

import asyncio
import cProfile
import gc
import pstats
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

import msgspec
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1.observation_service_pb2 import Standing
from beckon.throttle.v1.throttle_service_pb2 import ReserveSendsRequest, Send
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.type.v1.channel_pb2 import Channel

from mesh import postgres
from mesh.clock import SystemClock
from mesh.eventlog.redis_streams import RedisStreams
from mesh.ids import shard_of
from mesh.migrations import migrate
from mesh.pages import PageTokens
from mesh.server import COLLECTOR_THRESHOLDS, Stopping
from mesh.settings import load
from services.trigger.__main__ import MIGRATIONS
from services.trigger.clients import Observed, Peers
from services.trigger.config import WorkerSettings
from services.trigger.convert.sends import to_delivery
from services.trigger.model import Allowed, Enrollment, Person, ThrottleVerdict
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
from stack.servers import Postgres, Redis

PARTITIONS = 16
EVENTS = 10_000
BATCH = 500
PEOPLE = 10_000
PROPERTIES = msgspec.json.encode(
    {"value": 123.45, "currency": "EUR", "items": [{"sku": "a-1", "price": 10.5, "count": 2}]}
)


class QuietProfile:
    """Answers standings made beforehand."""

    def __init__(self) -> None:
        self.standing = Standing(
            attributes_json=b'{"tier": "gold", "city": "Berlin", "age": 33}',
            time_zone="Europe/Berlin",
            counters=[
                Standing.Counter(type=f"type_{n}", count=n, first_time_us=1, last_time_us=2)
                for n in range(8)
            ],
            first_seen_time_us=1,
            last_seen_time_us=2,
        )
        self.spent = 0.0

    async def observe(
        self, records: Sequence[tuple[int, str, bytes]], standing_types: Sequence[str]
    ) -> Observed:
        begun = process_time()
        numbers = {}
        number = 0
        for _, _, payload in records:
            for event in LogRecord.FromString(payload).events:
                if event.type in standing_types:
                    numbers[number] = (number, self.standing)
                number += 1
        self.spent += process_time() - begun
        return Observed(numbers, frozenset(), {})

    async def people(self, profiles: object) -> dict[tuple[str, str], Person]:
        raise NotImplementedError


class QuietThrottle:
    """Allows everything; the request is made, as for a call."""

    async def reserve(self, sends: Sequence[Send]) -> list[ThrottleVerdict]:
        ReserveSendsRequest(sends=sends).SerializeToString()
        return [Allowed()] * len(sends)


class QuietDelivery:
    """Takes everything; the request is made, as for a call."""

    async def create(self, sends: Sequence[tuple[Send, Enrollment, Person]]) -> None:
        for one in sends:
            to_delivery(*one).SerializeToString()


def records(start: int, share: float) -> list[tuple[int, bytes]]:
    """Return a batch as ingest appends it, `share` of its events of the trigger's type."""
    made: dict[int, list[Event]] = {}
    for number in range(start, start + BATCH):
        person = f"person-{number % PEOPLE}"
        wanted = number % 1000 < share * 1000
        event = Event(
            event_id=f"event-{number}",
            type="order_placed" if wanted else "page_viewed",
            profile=f"workspaces/acme/profiles/{person}",
            properties_json=PROPERTIES,
        )
        event.occur_time.FromDatetime(datetime.now(UTC))
        made.setdefault(shard_of("acme", person) % PARTITIONS, []).append(event)
    now = int(datetime.now(UTC).timestamp() * 1e6)
    return [
        (
            partition,
            LogRecord(workspace="acme", receive_time_us=now, events=some).SerializeToString(),
        )
        for partition, some in made.items()
    ]


async def measure(name: str, share: float, *, profile: bool, campaigns: int = 1) -> float:
    """Work off all events; return the CPU microseconds an event."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Postgres(Path(folder) / "pg", durable=True) as pg,
            Redis(Path(folder) / "redis", durable=True) as server,
        ):
            url = await pg.create_database("bench")
            await migrate(url, schema="trigger", folder=MIGRATIONS)
            async with (
                postgres.connect(url, schema="trigger", size=12) as database,
                RedisStreams.connect(server.url_of(1), partitions=PARTITIONS) as log,
            ):
                quiet = QuietProfile()
                peers = Peers(quiet, QuietThrottle(), QuietDelivery())  # type: ignore[arg-type]
                settings = replace(
                    load(WorkerSettings, {}),
                    read_wait=timedelta(milliseconds=5),
                )
                worker = Worker(database, log, peers, SystemClock(), settings)
                servicer = CampaignServicer(
                    CampaignStore(database),
                    EnrollmentStore(database, partitions=PARTITIONS),
                    PageTokens(b"x"),
                    SystemClock(),
                    watching=Watching(
                        peers.profile, WatchStore(database), BackfillStore(database)
                    ),
                    requests=Requests(
                        RequestStore(database),
                        SystemClock(),
                        admit=worker.admissions.admit,
                        people=peers.profile.people,
                    ),
                )
                for number in range(campaigns):
                    await launch(servicer, number)
                await worker.prepare()
                await worker.partitions.run_once()
                # Campaigns are compiled and statements prepared before the watch starts.
                await log.append(records(EVENTS, share))
                await work_off(worker)
                for start in range(0, EVENTS, BATCH):
                    await log.append(records(start, share))
                return await timed(name, worker, quiet, profile=profile)


async def launch(servicer: CampaignServicer, number: int) -> None:
    """Launch a campaign; only the first is of a type that occurs."""
    campaign = pb.Campaign(
        trigger=pb.Trigger(
            event_type="order_placed" if number == 0 else f"other_{number}",
            filter='event.properties.value > 100.0 && profile.attributes.tier == "gold"',
        ),
        message=pb.Message(
            channel=Channel.CHANNEL_WEBHOOK, template="workspaces/acme/templates/order"
        ),
    )
    campaign.reentry_interval.SetInParent()
    made = await servicer.CreateCampaign(
        pb.CreateCampaignRequest(
            parent="workspaces/acme", campaign_id=f"campaign-{number}", campaign=campaign
        ),
        None,
    )
    await servicer.LaunchCampaign(pb.LaunchCampaignRequest(name=made.name), None)


async def work_off(worker: Worker) -> None:
    """Judge and relay all that is in the log."""
    stopping = Stopping()

    async def run(lane: Lane) -> None:
        while await lane.run_once(stopping):
            pass

    async with asyncio.TaskGroup() as group:
        group.create_task(worker.relay.run(stopping))
        await asyncio.gather(*(run(lane) for lane in worker.lanes))
        while worker.relay.owed:  # noqa: ASYNC110 — the relay has nobody else to tell
            await asyncio.sleep(0.01)
        stopping.set()


async def timed(name: str, worker: Worker, quiet: QuietProfile, *, profile: bool) -> float:
    """Work off the log and say what it took."""
    profiler = cProfile.Profile()
    quiet.spent = 0.0
    begun, wall = process_time(), perf_counter()
    if profile:
        profiler.enable()
    await work_off(worker)
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    cpu = (process_time() - begun - quiet.spent) / EVENTS * 1e6
    rate = EVENTS / (perf_counter() - wall)
    print(f"{name}: {cpu:.1f} us CPU an event, {rate:,.0f} events/s")
    return cpu


async def main(*, profile: bool) -> None:
    """Measure events that begin nothing, every tenth, and every one."""
    nothing = await measure("no event triggers", 0.0, profile=profile)
    many = await measure("no event triggers, 500 campaigns", 0.0, profile=False, campaigns=500)
    tenth = await measure("every tenth triggers", 0.1, profile=False)
    all_of_them = await measure("every event triggers", 1.0, profile=profile)
    print(
        f"event {nothing:.1f} us; with 500 campaigns {many:.1f} us;"
        f" message on top {all_of_them - nothing:.1f} us (of a tenth: {(tenth - nothing) * 10:.1f})"
    )


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    import uvloop

    uvloop.run(main(profile="--profile" in sys.argv))
