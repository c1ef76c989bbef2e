"""What profile alone can do: take events in, count a segment of a million, tell who follows somebody.

The service is a process of its own on a PostgreSQL of its own that syncs every commit, and is asked over gRPC; what it is compared
with runs on the same server in the same round.
"""

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from zlib import crc32

import asyncpg
import grpc
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import observation_service_pb2 as observation
from beckon.profile.v1 import observation_service_pb2_grpc as observation_rpc
from beckon.profile.v1 import relation_service_pb2 as relation
from beckon.profile.v1 import relation_service_pb2_grpc as relation_rpc
from beckon.profile.v1 import segment_service_pb2 as segment
from beckon.profile.v1 import segment_service_pb2_grpc as segment_rpc

from bench.load.events import WORKSPACE, Batches, Planned, Shape
from bench.load.usage import measure, spent
from bench.record import Record
from mesh.client import connect
from mesh.migrations import migrate
from services.profile.convert.records import records
from services.profile.model import Event as Row
from services.profile.store import MIGRATIONS, SCHEMA
from stack import processes
from stack.keys import make_keys
from stack.ports import HOST, free_ports
from stack.servers import Postgres

BATCH = 500
# Trigger asks from two lanes, each with partitions of its own.
LANES = 2
PARTITIONS = 16
_WARM_UP_BATCHES = 20
_BATCHES = 120

# What history is compared with: its rows under their key, and as a heap that nobody could find anything in.
_BARE_TABLES = {
    "bare_copy": "LIKE history, PRIMARY KEY (event_uid)",
    "bare_copy_without_key": "LIKE history",
}

PROFILES = 1_000_000
_COUNTS = 3
FILTER = 'profile.attributes.plan == "gold" && profile.attributes.age > 30'
# What somebody who knows the table would write.
_BY_HAND = """
SELECT count(*) FROM profiles WHERE workspace = 'bench' AND merged_into = ''
    AND attributes->>'plan' = 'gold' AND (attributes->>'age')::numeric > 30
"""
_MANY_PROFILES = """
INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time, email, time_zone, attributes)
SELECT 'bench', 'm' || lpad(n::text, 7, '0'), n % 1024, now(), now(), 'm' || n || '@example.com', 'Europe/Berlin',
    jsonb_build_object('plan', (ARRAY['gold', 'silver', 'free', 'free'])[1 + n % 4], 'age', 18 + n % 60, 'city',
        'city-' || n % 500, 'newsletter', n % 3 = 0)
FROM generate_series(1, $1) AS n
"""

FOLLOWERS = 200_000
_PUT = 1000


@dataclass(frozen=True, slots=True)
class Service:
    """Profile, running."""

    channel: grpc.aio.Channel
    database_url: str
    pids: list[int]


async def profile(record: Record) -> None:
    """Measure one round of everything profile is asked for at scale."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with running(Path(folder)) as service:
            await _observe(record, service)
            await _count(record, service)
            await _fan_out(record, service)


async def _observe(record: Record, service: Service) -> None:
    stub: observation_rpc.ObservationServiceAsyncStub = observation_rpc.ObservationServiceStub(
        service.channel
    )
    loads = [_requests(lane) for lane in range(LANES)]
    await _in_lanes([load[:_WARM_UP_BATCHES] for load in loads], stub.ObserveEvents)
    measured = [load[_WARM_UP_BATCHES:] for load in loads]
    before = measure(service.pids)
    seconds = await _in_lanes(measured, stub.ObserveEvents)
    events = LANES * _BATCHES * BATCH
    cpu = spent(before, measure(service.pids))
    record.add("profile.observe_events_per_second", events / seconds)
    for name, table in _BARE_TABLES.items():
        copied = await _copy(service, measured, table)
        record.add(f"profile.{name}_events_per_second", events / copied)
        record.add(f"profile.observe_ratio_to_{name}", copied / seconds)
    record.profiles["profile.observe (us/event)"] = {
        kind: round(one * 1e6 / events, 2) for kind, one in cpu.items()
    }


def _requests(lane: int) -> list[observation.ObserveEventsRequest]:
    """Return requests as trigger makes them: the events of some partitions, one in ten to be answered for."""
    shape = Shape(run=secrets.token_hex(3), batch_size=BATCH, seed=lane, profiles=100_000)
    batches = Batches(shape, lambda planned: _record(planned, lane).SerializeToString())
    made = []
    for number in range(_WARM_UP_BATCHES + _BATCHES):
        whole = LogRecord.FromString(batches.batch(number))
        request = observation.ObserveEventsRequest(standing_types=["order_placed"])
        for partition, events in _by_partition(whole).items():
            observed = request.records.add(partition=partition, position=f"{number + 1}-0")
            observed.record.CopyFrom(
                LogRecord(workspace=WORKSPACE, receive_time_us=whole.receive_time_us, events=events)
            )
        made.append(request)
    return made


def _record(planned: Sequence[Planned], lane: int) -> LogRecord:
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    record = LogRecord(workspace=WORKSPACE, receive_time_us=now_us)
    for one in planned:
        event = record.events.add(
            event_id=one.id,
            type=one.type,
            profile=f"workspaces/{WORKSPACE}/profiles/{one.profile}-{lane}",
            properties_json=_json(one),
        )
        event.occur_time.FromDatetime(one.time)
    return record


def _json(planned: Planned) -> bytes:
    pairs = (f'"{key}": {_value(value)}' for key, value in planned.properties.items())
    return ("{" + ", ".join(pairs) + "}").encode()


def _value(value: object) -> str:
    return str(value).replace("'", '"') if isinstance(value, list | float) else f'"{value}"'


def _by_partition(record: LogRecord) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    for event in record.events:
        # The lanes' people differ by the end of their names, and so do their partitions.
        lane = int(event.profile[-1])
        place = crc32(event.profile.encode()) % (PARTITIONS // LANES)
        found.setdefault(place * LANES + lane, []).append(event)
    return found


async def _in_lanes(
    loads: Sequence[Sequence[observation.ObserveEventsRequest]],
    call: Callable[[observation.ObserveEventsRequest], Awaitable[object]],
) -> float:
    """Do each load in order, all at once; return how long that took."""

    async def walk(load: Sequence[observation.ObserveEventsRequest]) -> None:
        for request in load:
            await call(request)

    begun = perf_counter()
    await asyncio.gather(*map(walk, loads))
    return perf_counter() - begun


async def _copy(
    service: Service, loads: Sequence[Sequence[observation.ObserveEventsRequest]], table: str
) -> float:
    """Copy the rows that observing wrote into a table of nothing else; a transaction a batch, as many lanes."""
    rows = [[_rows(request) for request in load] for load in loads]
    pool = await asyncpg.create_pool(
        service.database_url, min_size=LANES, max_size=LANES, server_settings=_PATH
    )
    async with pool:
        await pool.execute(f"DROP TABLE IF EXISTS bare; CREATE TABLE bare ({table})")

        async def walk(batches: Sequence[Sequence[Row]]) -> None:
            async with pool.acquire() as connection:
                for batch in batches:
                    await connection.copy_records_to_table(
                        "bare", records=batch, columns=Row._fields
                    )

        begun = perf_counter()
        await asyncio.gather(*map(walk, rows))
        return perf_counter() - begun


def _rows(request: observation.ObserveEventsRequest) -> list[Row]:
    return [event for record in records(request) for event in record.events]


async def _count(record: Record, service: Service) -> None:
    stub: segment_rpc.SegmentServiceAsyncStub = segment_rpc.SegmentServiceStub(service.channel)
    request = segment.CountSegmentMembersRequest(parent=f"workspaces/{WORKSPACE}", filter=FILTER)
    connection = await asyncpg.connect(service.database_url, server_settings=_PATH)
    ours: list[float] = []
    by_hand: list[float] = []
    try:
        await connection.execute(_MANY_PROFILES, PROFILES)
        await connection.execute("VACUUM ANALYZE profiles")
        for number in range(_COUNTS + 1):
            begun = perf_counter()
            counted = (await stub.CountSegmentMembers(request)).count
            between = perf_counter()
            expected = await connection.fetchval(_BY_HAND)
            ended = perf_counter()
            if counted != expected:
                raise RuntimeError(f"counted {counted}, by hand {expected}")
            if number:
                ours.append(between - begun)
                by_hand.append(ended - between)
    finally:
        await connection.close()
    record.add("profile.segment_count_1m_seconds", median(ours))
    record.add("profile.segment_count_1m_by_hand_seconds", median(by_hand))
    record.add("profile.segment_count_ratio_to_by_hand", median(ours) / median(by_hand))


async def _fan_out(record: Record, service: Service) -> None:
    stub: relation_rpc.RelationServiceAsyncStub = relation_rpc.RelationServiceStub(service.channel)
    star = f"workspaces/{WORKSPACE}/profiles/star"
    for start in range(1, FOLLOWERS, _PUT):
        put = relation.BatchPutRelationsRequest(parent=f"workspaces/{WORKSPACE}")
        for number in range(start, start + _PUT):
            follower = f"workspaces/{WORKSPACE}/profiles/m{number:07d}"
            put.relations.add(**{"from": follower, "kind": "follows", "to": star})
        await stub.BatchPutRelations(put)
    for name, filter_ in (("", ""), ("filtered_", FILTER)):
        asked = relation.StreamRelatedRequest(
            profile=star, kind="follows", incoming=True, filter=filter_
        )
        begun = perf_counter()
        found = sum([len(some.items) async for some in stub.StreamRelated(asked)])
        if not found or (not filter_ and found != FOLLOWERS):
            raise RuntimeError(f"{found} of {FOLLOWERS} followers came")
        # All followers are looked at, whoever comes out.
        record.add(
            f"profile.fanout_{name}profiles_per_second", FOLLOWERS / (perf_counter() - begun)
        )


_PATH = {"search_path": SCHEMA}


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Service]:
    """Run profile, as the stack does, on a PostgreSQL of its own."""
    async with AsyncExitStack() as exits:
        server = await exits.enter_async_context(Postgres(folder / "postgres"))
        await migrate(server.url, schema=SCHEMA, folder=MIGRATIONS)
        keyring, files = make_keys(folder / "keys", ["profile"])
        # Ingest is away: nothing that is measured needs it.
        port, metrics_port, ingest_port = free_ports(3)
        environment = {
            **os.environ,
            "BECKON_KEYS_FILE": str(keyring),
            "PROFILE_KEY_FILE": str(files["profile"]),
            "PROFILE_DATABASE_URL": server.url,
            "PROFILE_ADDRESS": f"{HOST}:{port}",
            "PROFILE_METRICS_ADDRESS": f"{HOST}:{metrics_port}",
            "PROFILE_INGEST_TARGET": f"{HOST}:{ingest_port}",
        }
        child = processes.start(
            [sys.executable, "-m", "services.profile"],
            log=folder / "profile.log",
            environment=environment,
        )
        exits.push_async_callback(child.stop)
        channel = await exits.enter_async_context(
            connect(f"{HOST}:{port}", key=files["admin"].read_text().strip(), service="profile")
        )
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )
        try:
            await check(b"", wait_for_ready=True, timeout=30)
        except grpc.RpcError as error:
            raise RuntimeError(f"profile did not start:\n{processes.tail(child.log)}") from error
        yield Service(channel, server.url, [server.pid, child.pid])
