"""What trigger alone can do: judge among many campaigns, fire timers, go through the audience of a broadcast.

Trigger runs in a process of its own, which is this file (`python -m bench.trigger`) and not the service's: throttle and delivery
answer in it from answers made beforehand, profile too unless an audience is gone through, which the real one streams. PostgreSQL
syncs every commit, Redis every append.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from time import process_time

import asyncpg
import msgspec
import uvloop
from beckon.trigger.v1 import campaign_service_pb2 as pb

from bench.alone import BATCH, WORKSPACE, Trigger, a_campaign, alone, as_a_service, records
from bench.profile import running
from bench.record import Record
from mesh.postgres import Database
from mesh.server import Stopping
from services.profile.store import SCHEMA
from services.trigger.clients import Profile
from services.trigger.model import EnrollmentState
from stack.servers import Postgres, Redis

# Active campaigns, each of another event name.
COUNTS = (1, 100, 1_000)
# One event in so many begins a passage.
_BEGINS = 10
_FILTER = 'event.properties.value > 100.0 && profile.attributes.tier == "gold"'
# Each count works off so many events in turn, so that a busy machine is unfair to all alike.
_TURNS = 4
_TURN_EVENTS = 5_000

TIMERS = 10_000
_DELAY = timedelta(hours=1)

RECIPIENTS = 50_000
_PATIENCE_SECONDS = 30.0
_PEOPLE = """
INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time, email, time_zone, attributes)
SELECT $1, 'm' || lpad(n::text, 7, '0'), n % 1024, now(), now(), 'm' || n || '@example.com', 'Europe/Berlin',
    jsonb_build_object('plan', (ARRAY['gold', 'silver', 'free', 'free'])[1 + n % 4], 'age', 18 + n % 60, 'city',
        'city-' || n % 500, 'newsletter', n % 3 = 0)
FROM generate_series(1, $2) AS n
"""


async def trigger(record: Record) -> None:
    """Measure one round in a process of its own: its loop and its collector are a service's."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.trigger", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"trigger could not be measured: exit code {child.returncode}")
    for key, value in msgspec.json.decode(output, type=dict[str, float]).items():
        record.add(f"trigger.{key}", value)


async def measure_all() -> dict[str, float]:
    """Return every number of one round."""
    return {**await _judge(), **await _fire(), **await _broadcast()}


async def _judge() -> dict[str, float]:
    """Judge the same events with few and with many campaigns, in turn on the same servers."""
    seconds = dict.fromkeys(COUNTS, 0.0)
    cpu = dict.fromkeys(COUNTS, 0.0)
    async with AsyncExitStack() as exits:
        sides = {count: await _with_campaigns(exits, count) for count in COUNTS}
        for turn in range(_TURNS + 1):
            for count, side in sides.items():
                for start in range(turn * _TURN_EVENTS, (turn + 1) * _TURN_EVENTS, BATCH):
                    await side.append(records(start, _spread_over(count)))
                begun = process_time() - side.quiet.spent
                taken = await side.work_off()
                # In the first turn campaigns are compiled and statements prepared.
                if turn:
                    seconds[count] += taken
                    cpu[count] += process_time() - side.quiet.spent - begun
    events = _TURNS * _TURN_EVENTS
    first, last = COUNTS[0], COUNTS[-1]
    return {
        **{f"judged_{count}_events_per_second": events / seconds[count] for count in COUNTS},
        **{f"judged_{count}_cpu_us_per_event": cpu[count] * 1e6 / events for count in COUNTS},
        f"judged_ratio_{last}_to_{first}": seconds[last] / seconds[first],
    }


async def _with_campaigns(exits: AsyncExitStack, count: int) -> Trigger:
    side = await _started(exits)
    for number in range(count):
        campaign = a_campaign(pb.Trigger(event_type=f"wanted_{number}", filter=_FILTER))
        await side.launch(campaign, f"campaign-{number}")
    await side.begin()
    return side


async def _started(exits: AsyncExitStack, profile: Profile | None = None) -> Trigger:
    folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    pg = await exits.enter_async_context(Postgres(folder / "postgres"))
    log = await exits.enter_async_context(Redis(folder / "redis"))
    url = await pg.create_database("bench")
    return await exits.enter_async_context(alone(url, log.url_of(1), profile=profile))


def _spread_over(count: int) -> Callable[[int], str]:
    """Return what each event is: one in ten is wanted by one campaign each, all of them in turn."""

    def type_of(number: int) -> str:
        wanted, rest = divmod(number, _BEGINS)
        return f"viewed_{rest}" if rest else f"wanted_{wanted % count}"

    return type_of


async def _fire() -> dict[str, float]:
    """Have passages wait an hour, be an hour late, and fire them all."""
    async with AsyncExitStack() as exits:
        side = await _started(exits)
        campaign = a_campaign(pb.Trigger(event_type="wanted", filter=_FILTER))
        campaign.delay.FromTimedelta(_DELAY)
        await side.launch(campaign, "campaign")
        await side.begin()
        for start in range(0, TIMERS, BATCH):
            await side.append(records(start, lambda _: "wanted"))
        await side.work_off()
        side.clock.ahead = 2 * _DELAY
        # The leases have run out.
        await side.begin()

        async def fire(stopping: Stopping) -> None:
            while await side.worker.timers.run_once():
                await side.worker.relay.relieved(stopping)

        seconds = await side.relaying(fire)
        await _require_sent(side, TIMERS)
    return {"timers_per_second": TIMERS / seconds}


async def _broadcast() -> dict[str, float]:
    """Have everybody of a workspace gone through, each with a passage that ends with delivery."""
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        service = await exits.enter_async_context(running(Path(folder)))
        await _people(service.database_url)
        side = await _started(exits, Profile(service.channel))
        everyone = pb.Schedule(audience=pb.Audience(everyone=True))
        await side.launch(a_campaign(pb.Trigger(schedule=everyone)), "campaign")
        await side.begin()

        async def go_through(stopping: Stopping) -> None:
            going = asyncio.create_task(side.worker.broadcasts.run(stopping))
            while not await _met_everybody(side.database):
                if going.done():
                    break
                await asyncio.sleep(0.1)
            exits.push_async_callback(asyncio.wait_for, going, _PATIENCE_SECONDS)

        seconds = await side.relaying(go_through)
        await _require_sent(side, RECIPIENTS)
    return {"broadcast_recipients_per_second": RECIPIENTS / seconds}


async def _people(database_url: str) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"search_path": SCHEMA})
    try:
        await connection.execute(_PEOPLE, WORKSPACE, RECIPIENTS)
        await connection.execute("VACUUM ANALYZE profiles")
    finally:
        await connection.close()


async def _met_everybody(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT bool_and(counted) FROM broadcasts"))


async def _require_sent(side: Trigger, count: int) -> None:
    """Make sure that what was measured is what was meant."""
    async with side.database.connection() as connection:
        sent = await connection.fetchval(
            "SELECT count(*) FROM enrollments WHERE state = $1", int(EnrollmentState.SENT)
        )
    if sent != count:
        raise RuntimeError(f"{sent} of {count} messages came to delivery")


if __name__ == "__main__":
    as_a_service()
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure_all())))
