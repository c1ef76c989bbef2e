"""Measures what traits cost: CPU microseconds an event, wanted by a trait and not.

Run it with `python -m tests.integration.profile.measure_traits`; nothing in the test suite does.
"""

import gc
import tempfile
from datetime import timedelta
from pathlib import Path

import uvloop
from beckon.profile.v1 import trait_service_pb2 as pb

from mesh.migrations import migrate
from services.profile.store import MIGRATIONS, SCHEMA, connect
from stack.servers.postgresql import Postgres
from tests.integration.profile.measure_cost import START, requests, run
from tests.integration.profile.reckoning import DAY, SUM, a_trait, declare
from tests.integration.profile.world import FakeClock, Profiles

MONTH = timedelta(days=30)
SIZE = 500
# In this order; each round keeps those of the rounds before.
ROUNDS: list[tuple[str, list[pb.Trait], float]] = [
    ("no traits, new people", [], 0.0),
    ("no traits", [], 0.0),
    ("5 traits, no event wanted", [a_trait(f"idle_{n}", rolling=MONTH) for n in range(5)], 0.0),
    ("the same 5, first wanted events", [], 1.0),
    ("the same 5, every event wanted", [], 1.0),
    ("the same 5, one event in ten wanted", [], 0.1),
    (
        "and 3 by a property, filtered",
        [
            a_trait(
                f"spent_{n}",
                aggregate=SUM,
                key="price",
                rolling=n * DAY,
                compare=True,
                filter_="event.properties.price > 10",
            )
            for n in (1, 2, 7)
        ],
        1.0,
    ),
    ("the same 8, every event wanted", [], 1.0),
]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        async with server:
            await migrate(server.url, schema=SCHEMA, folder=MIGRATIONS)
            async with connect(server.url, size=4) as database:
                profiles = Profiles(server.url, database, FakeClock(START))
                for seed, (name, traits, share) in enumerate(ROUNDS, 1):
                    for trait in traits:
                        await declare(profiles, trait)
                    lanes = [requests(SIZE, lane, seed, share, []) for lane in (0, 1)]
                    await run(profiles, server, name, lanes)


if __name__ == "__main__":
    # As every service does.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvloop.run(main())
