"""Measures what a reservation costs: CPU of throttle, Redis and PostgreSQL for each send.

`python -m tests.integration.throttle.measure_cost`; not a test.
"""

import random
import tempfile
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import process_time
from uuid import UUID

import psutil
import uvloop
from beckon.throttle.v1 import throttle_service_pb2 as pb

from mesh import postgres, redis
from mesh.clock import SystemClock
from mesh.migrations import migrate
from services.throttle.__main__ import MIGRATIONS, SCHEMA
from services.throttle.model import (
    Calendar,
    Channel,
    Consent,
    FrequencyCap,
    Rolling,
    StoredCap,
    Subscription,
)
from services.throttle.servicer import ThrottleServicer
from services.throttle.store import Caps, Identities, Places, Subscriptions
from stack.servers import Postgres, Redis

PEOPLE = 20_000
# Places that everybody has when a round is measured.
HISTORIES = (0, 20)
PLACES_MORE = 14
VARIANTS = (("any shard", False, 100), ("any shard", False, 500), ("by shard", True, 500))
SENDS = 30_000
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Europe/London", "", "Asia/Tokyo"]


def cpu_of(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def unconditionally(cap: FrequencyCap, _stored: StoredCap | None, _count: int) -> FrequencyCap:
    return cap


def requests(size: int, first: int) -> list[bytes]:
    draw = random.Random(first)
    made = []
    for batch in range(SENDS // size):
        request = pb.ReserveSendsRequest()
        for place, person in enumerate(draw.sample(range(PEOPLE), size)):
            send = request.sends.add(
                send_id=UUID(int=first + batch * size + place).bytes,
                profile=f"workspaces/acme/profiles/person-{person}",
                channel=1,
                campaign="workspaces/acme/campaigns/hello",
                time_zone=ZONES[person % len(ZONES)],
            )
            send.expire_time.FromDatetime(SystemClock().now() + timedelta(hours=1))
        made.append(request.SerializeToString())
    return made


async def main(folder: Path) -> None:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        postgres_server = await enter(Postgres(folder / "postgres"))
        redis_server = await enter(Redis(folder / "redis"))
        url = await postgres_server.create_database("measured")
        await migrate(url, schema=SCHEMA, folder=MIGRATIONS)
        database = await enter(postgres.connect(url, schema=SCHEMA))
        client = await enter(redis.connect(redis_server.url))
        subscriptions, caps = Subscriptions(database), Caps(database, clock)
        for start in range(0, PEOPLE, 1000):
            await subscriptions.set(
                [
                    Subscription(
                        workspace="acme",
                        profile_id=f"person-{person}",
                        channel=Channel.EMAIL,
                        consent=Consent.SUBSCRIBED,
                        update_time=clock.now(),
                    )
                    for person in range(start, start + 1000)
                ]
            )
        for cap_id, window in (
            ("daily", Calendar.DAY),
            ("weekly", Calendar.WEEK),
            ("rolling", Rolling(timedelta(hours=1))),
        ):
            cap = FrequencyCap(
                workspace="acme", cap_id=cap_id, channel=None, limit=100, window=window
            )
            await caps.change("acme", cap_id, partial(unconditionally, cap))
        async with database.connection() as connection:
            await connection.execute("VACUUM ANALYZE subscriptions")
        for history in HISTORIES:
            for name, by_shard, size in VARIANTS:
                servicer = ThrottleServicer(
                    subscriptions,
                    Identities(database),
                    caps,
                    Places(client, by_shard=by_shard),
                    clock=clock,
                )
                pids = redis_server.pid, postgres_server.pid
                spent = await measured(servicer, requests(size, draw_first()), pids)
                print(
                    f"{history:2} places before, {name:9}, batches of {size}:"
                    f" throttle {spent[0]:.1f}, redis {spent[1]:.1f}, postgres {spent[2]:.1f},"
                    f" together {sum(spent):.1f} us a send"
                )
            # Each person has so many places when the next round begins.
            servicer = ThrottleServicer(
                subscriptions, Identities(database), caps, Places(client), clock=clock
            )
            for _ in range(PLACES_MORE * PEOPLE // SENDS):
                for batch in requests(500, draw_first()):
                    await servicer.ReserveSends(pb.ReserveSendsRequest.FromString(batch), None)


async def measured(
    servicer: ThrottleServicer, batches: list[bytes], pids: tuple[int, int]
) -> list[float]:
    before = process_time(), *map(cpu_of, pids)
    for batch in batches:
        request = pb.ReserveSendsRequest.FromString(batch)
        response = await servicer.ReserveSends(request, None)
        response.SerializeToString()
        assert all(verdict.HasField("allow") for verdict in response.verdicts)
    after = process_time(), *map(cpu_of, pids)
    return [(b - a) / SENDS * 1e6 for a, b in zip(before, after, strict=True)]


def draw_first() -> int:
    return random.randrange(2**60)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(main(Path(folder)))
