"""What trigger's own process spends on an event and on a message, its peers' calls left out.

Run: `python -m bench.trigger_cost`. PostgreSQL and Redis are real; profile, throttle and delivery
answer in the process from answers made beforehand, so that what is counted is reading the log,
judging, committing and settling.
"""

import cProfile
import pstats
import sys
import tempfile
from pathlib import Path
from time import process_time

import uvloop
from beckon.trigger.v1 import campaign_service_pb2 as pb

from bench.alone import BATCH, Trigger, a_campaign, alone, as_a_service, records
from stack.servers import Postgres, Redis

EVENTS = 10_000
FILTER = 'event.properties.value > 100.0 && profile.attributes.tier == "gold"'


async def measure(name: str, share: float, *, profile: bool, campaigns: int = 1) -> float:
    """Work off all events, `share` of them of the trigger's type; return the CPU us an event."""

    def type_of(number: int) -> str:
        return "order_placed" if number % 1000 < share * 1000 else "page_viewed"

    with tempfile.TemporaryDirectory() as folder:
        async with (
            Postgres(Path(folder) / "pg", durable=True) as pg,
            Redis(Path(folder) / "redis", durable=True) as server,
            alone(await pg.create_database("bench"), server.url_of(1)) as side,
        ):
            for number in range(campaigns):
                # Only the first is of a type that occurs.
                type_ = f"other_{number}" if number else "order_placed"
                beginning = pb.Trigger(event_type=type_, filter=FILTER)
                await side.launch(a_campaign(beginning), f"campaign-{number}")
            await side.begin()
            # Campaigns are compiled and statements prepared before the watch starts.
            await side.append(records(EVENTS, type_of))
            await side.work_off()
            for start in range(0, EVENTS, BATCH):
                await side.append(records(start, type_of))
            return await timed(name, side, profile=profile)


async def timed(name: str, side: Trigger, *, profile: bool) -> float:
    """Work off the log and say what it took."""
    profiler = cProfile.Profile()
    side.quiet.spent = 0.0
    begun = process_time()
    if profile:
        profiler.enable()
    seconds = await side.work_off()
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    cpu = (process_time() - begun - side.quiet.spent) / EVENTS * 1e6
    print(f"{name}: {cpu:.1f} us CPU an event, {EVENTS / seconds:,.0f} events/s")
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
    as_a_service()
    uvloop.run(main(profile="--profile" in sys.argv))
