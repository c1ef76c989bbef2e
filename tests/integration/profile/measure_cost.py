"""Measures what observing costs: CPU microseconds an event, of this process and of PostgreSQL.

Run it with `python -m tests.integration.profile.measure_cost`; nothing in the test suite does.
"""

import asyncio
import gc
import json
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import uvloop
from beckon.profile.v1 import observation_service_pb2 as pb

from mesh.migrations import migrate
from services.profile.store import MIGRATIONS, SCHEMA, connect
from stack.servers.postgresql import Postgres
from tests.integration.profile.world import Profiles, a_record, an_event

EVENTS = 30_000
PEOPLE = 200_000
START = datetime(2026, 11, 20, 20, tzinfo=UTC)


def requests(size: int, lane: int, seed: int, share: float, wanted: list[str]) -> list[bytes]:
    draw = random.Random(seed * 2 + lane)
    made = []
    for batch in range(EVENTS // size // 2):
        received = START + timedelta(milliseconds=50 * batch)
        people = draw.sample(range(lane, PEOPLE, 2), size)
        by_partition: dict[int, list[int]] = {}
        for person in people:
            by_partition.setdefault(person % 16, []).append(person)
        records = [
            a_record(
                f"{1763700000000 + batch}-{seed}",
                *(
                    an_event(
                        f"{seed}-{batch}-{person}-{lane}",
                        profile=f"person-{person}",
                        kind="order_placed" if draw.random() < share else "product_viewed",
                        occurred=received,
                        properties={
                            "product": f"sku-{person}",
                            "price": 12.5,
                            "currency": "EUR",
                            "category": "shoes",
                            "page": "/shoes/red",
                            "quantity": 3,
                            "new": True,
                        },
                    )
                    for person in theirs
                ),
                partition=partition,
                received=received,
            )
            for partition, theirs in by_partition.items()
        ]
        request = pb.ObserveEventsRequest(records=records, standing_types=wanted)
        made.append(request.SerializeToString())
    return made


def cpu(server: Postgres) -> tuple[float, float]:
    own = psutil.Process().cpu_times()
    postmaster = psutil.Process(server.pid)
    spent = sum(postmaster.cpu_times()[:4])
    for child in postmaster.children():
        spent += sum(child.cpu_times()[:2])
    return own.user + own.system, spent


async def run(profiles: Profiles, server: Postgres, name: str, lanes: list[list[bytes]]) -> None:
    await asyncio.sleep(0.5)
    begun, before = asyncio.get_running_loop().time(), cpu(server)

    async def walk(batches: list[bytes]) -> None:
        for batch in batches:
            request = pb.ObserveEventsRequest.FromString(batch)
            (await profiles.servicer.ObserveEvents(request, None)).SerializeToString()

    await asyncio.gather(*map(walk, lanes))
    after, ended = cpu(server), asyncio.get_running_loop().time()
    own, theirs = ((one - other) / EVENTS * 1e6 for one, other in zip(after, before, strict=True))
    print(
        f"{name:40} own {own:5.1f}  postgres {theirs:5.1f}  together {own + theirs:5.1f} µs,"
        f" {EVENTS / (ended - begun):7.0f} events/s",
        flush=True,
    )


async def main(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        async with server:
            await migrate(server.url, schema=SCHEMA, folder=MIGRATIONS)
            async with connect(server.url, size=4) as database:
                profiles = Profiles(server.url, database)
                rounds: list[tuple[str, int, float, list[str]]] = [
                    ("first events of new people", 1, 0.1, [])
                ]
                rounds += [(f"none answered, batches of {size}", at, 0.1, []) for at in (2, 3, 4)]
                rounds.append(("one in ten answered", 5, 0.1, ["order_placed"]))
                rounds.append(("every event answered", 6, 1.0, ["order_placed"]))
                for name, seed, share, wanted in rounds:
                    lanes = [requests(size, lane, seed, share, wanted) for lane in (0, 1)]
                    await run(profiles, server, name, lanes)
                sizes = await profiles.fetch(
                    "SELECT pg_total_relation_size('profiles') AS p,"
                    " pg_total_relation_size('history_20261119') AS h"
                )
                hot = await profiles.fetch(
                    "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                    " WHERE relname = 'profiles'"
                )
                print(json.dumps([dict(row) for row in (*sizes, *hot)]))


if __name__ == "__main__":
    # As every service does.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
