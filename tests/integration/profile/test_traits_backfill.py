"""Makes sure that a backfill comes to what counting from the beginning would have come to.

Each trait is declared twice: once before all events, and once with `backfill` in the
middle of them. The walk takes three ids at a time.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import trait_service_pb2 as pb

from mesh.errors import MeshError
from tests.effort import examples
from tests.integration.profile.reckoning import DAY, a_trait, declare, get, keep, kept
from tests.integration.profile.world import NOW, Profiles, a_record, an_event
from tests.waiting import eventually

PEOPLE = [f"p{number:02}" for number in range(20)]
# The history spells some of them in another way than the event did.
CONTENTS = ["1", "1.0", "2.50", "0.1", "7e0", '"seven"', "12", "1e2", "1e30", "1e400", "9" * 25]
WALKED = "SELECT walked_count FROM traits WHERE trait_id = 'orders'"
BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%'
"""


def kinds(prefix: str, *, backfill: bool) -> list[pb.Trait]:
    """Return one trait of each aggregate and each kind of window."""
    declared = [
        a_trait(f"{prefix}_{number}", aggregate=number, key=_key(number), backfill=backfill)
        for number in pb.Trait.Aggregate.values()
        if number
    ]
    for number in range(1, 7):
        trait = a_trait(
            f"{prefix}_{number}_rolling",
            aggregate=pb.Trait.Aggregate.ValueType(number),
            key=_key(number),
            rolling=2 * DAY,
            compare=True,
            backfill=backfill,
            filter_="event.properties.value > 3",
        )
        declared.append(trait)
        dated = pb.Trait()
        dated.CopyFrom(trait)
        dated.name = f"workspaces/acme/traits/{prefix}_{number}_calendar"
        dated.calendar = pb.Trait.CALENDAR_WEEK
        declared.append(dated)
    return declared


def _key(number: int) -> str:
    return "" if number in (1, 7, 8) else "value"


def some_events(draw: random.Random, batch: int, people: Sequence[str]) -> list[Event]:
    events = []
    for number in range(draw.randrange(1, 8)):
        occurred = NOW - timedelta(minutes=draw.randrange(20 * 1440))
        events.append(
            an_event(
                f"{batch}-{number}",
                profile=draw.choice(people),
                occurred=occurred,
                properties=f'{{"value": {draw.choice(CONTENTS)}}}'.encode(),
            )
        )
    return events


async def observe_some(
    profiles: Profiles, draw: random.Random, batches: range, *, partition: int = 0
) -> None:
    for batch in batches:
        events = some_events(draw, batch, PEOPLE)
        if draw.random() < 0.2:
            one, other = draw.sample(PEOPLE, 2)
            said = {"anonymous_id": other}
            events.append(an_event(f"{batch}-i", kind="identify", profile=one, properties=said))
        await profiles.observe(a_record(str(batch), *events, partition=partition))
        if draw.random() < 0.2:
            await part(profiles, draw)


async def part(profiles: Profiles, draw: random.Random) -> None:
    """Take one of the merges back that there are."""
    parent = f"workspaces/acme/profiles/{draw.choice(PEOPLE)}"
    request = identity_pb.ListMergesRequest(parent=parent)
    for merge in (await profiles.identity.ListMerges(request, None)).merges[:1]:
        with suppress(MeshError):
            # Another stream may have been faster.
            parting = identity_pb.UnmergeProfilesRequest(name=merge.name)
            await profiles.identity.UnmergeProfiles(parting, None)


def named(values: dict[str, float], prefix: str) -> dict[str, float]:
    """Return the values whose names begin so, without that beginning."""
    return {key.removeprefix(prefix): values[key] for key in values if key.startswith(prefix)}


async def everybody(profiles: Profiles) -> list[str]:
    rows = await profiles.fetch("SELECT profile_id FROM profiles WHERE merged_into = ''")
    return [row[0] for row in rows]


@pytest.mark.parametrize("seed", range(examples(2)))
async def test_a_backfill_among_streaming_events_comes_to_the_same(
    profiles: Profiles, seed: int
) -> None:
    for trait in kinds("live", backfill=False):
        await declare(profiles, trait)
    await observe_some(profiles, random.Random(seed), range(20))
    streams = [
        observe_some(
            profiles,
            random.Random(f"{seed}-{stream}"),
            range(100 * stream, 100 * stream + 25),
            partition=stream,
        )
        for stream in (1, 2)
    ]

    async def fill() -> None:
        for trait in kinds("filled", backfill=True):
            await declare(profiles, trait)
        await eventually(lambda: _step(profiles), lambda busy: not busy)

    await asyncio.gather(*streams, fill())
    await keep(profiles)
    for trait in kinds("again", backfill=True):
        await declare(profiles, trait)
    await keep(profiles)

    assert await profiles.fetch("SELECT FROM traits WHERE state <> 2") == []
    for person in await everybody(profiles):
        values = await kept(profiles, person)
        live, filled, again = (named(values, one) for one in ("live_", "filled_", "again_"))
        assert live == filled == again
    assert await profiles.fetch("SELECT FROM merges WHERE state = 1") != []
    assert await profiles.fetch("SELECT FROM merges WHERE state = 2") != []


async def _step(profiles: Profiles) -> bool:
    try:
        return await profiles.trait_keeper.run_once()
    except MeshError:
        # Another was faster, as the keeper's own loop bears it.
        return True


async def test_a_backfill_tells_how_far_it_is(profiles: Profiles) -> None:
    for number, person in enumerate(PEOPLE[:6]):
        await profiles.observe(a_record(str(number), an_event(person, profile=person)))
    begun = await declare(profiles, a_trait(backfill=True))
    seen = [(begun.state, begun.backfill_progress)]

    while await profiles.trait_keeper.run_once():
        found = await get(profiles)
        seen.append((found.state, found.backfill_progress))

    filling, active = pb.Trait.STATE_BACKFILLING, pb.Trait.STATE_ACTIVE
    assert seen == [(filling, 0), (filling, 0), (filling, 0.5), (filling, 1), (active, 1)]
    assert [(await kept(profiles, person))["orders"] for person in PEOPLE[:6]] == [1] * 6


async def test_without_backfill_it_counts_from_now_on(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1")))
    await declare(profiles, a_trait())
    await keep(profiles)

    await profiles.observe(a_record("2", an_event("e2")))

    assert await kept(profiles) == {"orders": 1}


async def test_an_event_before_the_walk_has_come_counts_with_all_before(
    profiles: Profiles,
) -> None:
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2")))
    await declare(profiles, a_trait(backfill=True))

    await profiles.observe(a_record("2", an_event("e3")))

    assert await kept(profiles) == {"orders": 3}
    await keep(profiles)
    assert await kept(profiles) == {"orders": 3}


async def test_a_walk_begins_when_nobody_is_left_who_may_not_know(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1")))
    async with profiles.database.transaction() as old:
        # It has read nothing that would give it a number.
        await old.fetchval("SELECT 1")
        await declare(profiles, a_trait(backfill=True))
        await keep(profiles)
        assert await kept(profiles) == {}
    await keep(profiles)

    assert await kept(profiles) == {"orders": 1}


async def test_who_dies_in_the_middle_leaves_nothing_twice(profiles: Profiles) -> None:
    """By a person who is held: the step waits for her, and its connection is cut."""
    for number, person in enumerate(PEOPLE):
        await profiles.observe(
            a_record(str(number), an_event(f"1{person}", profile=person)),
            a_record(f"{number}-2", an_event(f"2{person}", profile=person)),
        )
    await declare(profiles, a_trait(backfill=True))
    for _ in range(3):
        await profiles.trait_keeper.run_once()

    async def cut() -> None:
        waiting = await eventually(lambda: profiles.fetch(BACKENDS))
        await profiles.fetch("SELECT pg_terminate_backend($1)", waiting[0][0])

    async with held(profiles, "p07"):
        died, _ = await asyncio.gather(
            profiles.trait_keeper.run_once(), cut(), return_exceptions=True
        )
    assert isinstance(died, MeshError)
    assert (await profiles.fetch(WALKED))[0][0] == 6
    assert await kept(profiles, "p07") == {}
    await keep(profiles)

    assert [(await kept(profiles, person))["orders"] for person in PEOPLE] == [2] * 20


@asynccontextmanager
async def held(profiles: Profiles, person: str) -> AsyncIterator[None]:
    async with profiles.database.transaction() as connection:
        await connection.execute("SELECT FROM profiles WHERE profile_id = $1 FOR UPDATE", person)
        yield


async def test_two_walkers_share_the_walks(profiles: Profiles) -> None:
    for number, person in enumerate(PEOPLE):
        await profiles.observe(a_record(str(number), an_event(person, profile=person)))
    for name in ("a", "b", "c"):
        await declare(profiles, a_trait(name, backfill=True))

    await asyncio.gather(keep(profiles), keep(profiles), keep(profiles))
    await keep(profiles)

    assert [await kept(profiles, person) for person in PEOPLE] == [{"a": 1, "b": 1, "c": 1}] * 20
