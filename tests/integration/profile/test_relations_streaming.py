"""Makes sure that who is related streams out whole, once each, and holds no memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from beckon.profile.v1 import relation_service_pb2 as pb

from mesh.errors import InvalidArgument
from services.profile.model.relations import Walk
from services.profile.store import related as related_store
from tests.integration.profile.neighbours import Neighbours, an_edge, named
from tests.waiting import eventually

MANY = 200_000
FOLLOWERS = """
INSERT INTO {table} (workspace, from_member, kind, to_member, attributes, create_time, update_time)
SELECT 'acme', 'f' || lpad(i::text, 7, '0'), 'follows', 'ben', '{{}}', now(), now()
FROM generate_series(1, $1) AS i
"""

PROFILE = """
INSERT INTO profiles (workspace, profile_id, attributes, shard, create_time, update_time)
VALUES ('acme', $1, $2, 0, now(), now())
"""


def ask(**options: Any) -> pb.StreamRelatedRequest:
    return pb.StreamRelatedRequest(profile=named("ben"), kind="follows", incoming=True, **options)


async def followers(world: Neighbours, count: int) -> None:
    for table in ("relations", "relations_in"):
        await world.fetch(FOLLOWERS.format(table=table), count)


async def test_followers_stream_by_the_thousand_each_once(world: Neighbours) -> None:
    await followers(world, 2500)

    parts = [part async for part in world.relations.StreamRelated(ask(), None)]

    names = [item.profile for part in parts for item in part.items]
    assert [len(part.items) for part in parts] == [1000, 1000, 500]
    assert names == sorted(set(names))
    assert len(names) == 2500


async def test_nobody_is_streamed_as_nothing(world: Neighbours) -> None:
    assert [part async for part in world.relations.StreamRelated(ask(), None)] == []


async def test_a_stream_resumes_where_it_broke_off(world: Neighbours) -> None:
    await followers(world, 2500)
    first = await anext(world.relations.StreamRelated(ask(), None))

    rest = [part async for part in world.relations.StreamRelated(ask(cursor=first.cursor), None)]

    names = [item.profile for part in [first, *rest] for item in part.items]
    assert len(names) == len(set(names)) == 2500


@pytest.mark.parametrize("cursor", ["x", "A" * 40])
async def test_a_cursor_of_somebody_else_is_refused(world: Neighbours, cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        await anext(world.relations.StreamRelated(ask(cursor=cursor), None))


async def test_a_cursor_is_good_for_its_own_question_only(world: Neighbours) -> None:
    await followers(world, 3)
    first = await anext(world.relations.StreamRelated(ask(), None))

    with pytest.raises(InvalidArgument, match="cursor"):
        await anext(world.relations.StreamRelated(ask(cursor=first.cursor, mutual=True), None))


async def test_united_followers_stream_once_under_their_name(
    world: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(related_store, "CHUNK", 1)
    await world.put(
        an_edge("a-anon", "follows", "ben"),
        an_edge("zoe", "follows", "ben"),
        an_edge("m-anon", "follows", "ben"),
        an_edge("cleo", "follows", "benjamin"),
        an_edge("zoe", "follows", "benjamin"),
    )
    await world.unite("zoe", "a-anon", "m-anon")
    await world.unite("ben", "benjamin")

    assert await world.related("benjamin", incoming=True) == ["zoe", "cleo"]


async def test_mutual_is_who_is_related_back(world: Neighbours) -> None:
    await world.put(
        an_edge("ana", "follows", "ben"),
        an_edge("cleo", "follows", "ben"),
        an_edge("ben", "follows", "cleo-anon"),
        an_edge("ben", "friends", "ana"),
    )
    await world.unite("cleo", "cleo-anon")

    assert await world.related("ben", incoming=True, mutual=True) == ["cleo"]
    assert await world.related("ben", mutual=True) == ["cleo"]
    assert await world.related("ben") == ["cleo"]


async def test_who_blocks_or_is_blocked_is_left_out_unless_asked_for(world: Neighbours) -> None:
    await world.put(
        *(an_edge(one, "follows", "ben") for one in ("ana", "cleo", "dora")),
        an_edge("ana", "blocks", "ben"),
        an_edge("ben-anon", "blocks", "cleo"),
        an_edge("dora", "blocks", "cleo"),
    )
    await world.unite("ben", "ben-anon")

    assert await world.related("ben", incoming=True) == ["dora"]
    assert await world.related("ben", incoming=True, include_blocked=True) == [
        "ana",
        "cleo",
        "dora",
    ]
    assert await world.related("ben", "blocks") == ["cleo"]


async def test_a_filter_is_about_the_other_end_and_the_edge(world: Neighbours) -> None:
    for name, tier in (("ana", "gold"), ("cleo", "gold"), ("dora", "tin")):
        await world.fetch(PROFILE, name, f'{{"tier": "{tier}"}}')
    await world.put(
        an_edge("ana", "follows", "ben", {"close": True}),
        an_edge("cleo", "follows", "ben"),
        an_edge("dora", "follows", "ben", {"close": True}),
        an_edge("nobody", "follows", "ben", {"close": True}),
    )

    async def streamed(source: str) -> list[str]:
        return await world.related("ben", incoming=True, filter=source)

    assert await streamed("profile.attributes.tier == 'gold'") == ["ana", "cleo"]
    assert await streamed("relation.attributes.close == true") == ["ana", "dora", "nobody"]
    both = "profile.attributes.tier == 'gold' && relation.attributes.close == true"
    assert await streamed(both) == ["ana"]


async def test_a_filter_that_makes_no_sense_is_refused_at_once(world: Neighbours) -> None:
    with pytest.raises(InvalidArgument):
        await anext(world.relations.StreamRelated(ask(filter="profile."), None))


async def test_who_is_parted_on_the_way_is_met_all_the_same(world: Neighbours) -> None:
    await world.put(an_edge("a", "follows", "ben"), an_edge("z", "follows", "ben"))
    await world.unite("z", "a")
    walk = Walk(incoming=True, kind="follows")
    store = related_store.RelatedPeople(world.database)
    met: list[str] = []
    async for step in store.follow(("acme", "ben"), walk, chunk=1):
        met += [one.profile_id for one in step.found]
        await world.part(["a"], ["z"])

    assert met == ["z", "z"]


async def test_a_client_that_leaves_ends_the_query(world: Neighbours) -> None:
    await followers(world, 10)

    async def waiting() -> bool:
        found = await world.fetch("SELECT FROM pg_locks WHERE NOT granted")
        return bool(found)

    async def idle() -> bool:
        return not await waiting()

    async with world.database.transaction() as db:
        # Nobody reads while the table is locked.
        await db.execute("LOCK TABLE relations_in IN ACCESS EXCLUSIVE MODE")
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(world.related("ben", incoming=True))
            await eventually(waiting)
            reading.cancel()
        await eventually(idle)

    assert reading.cancelled()
    assert len(await world.related("ben", incoming=True)) == 10


def resident_kib() -> int:
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1])


async def test_two_hundred_thousand_followers_take_no_memory(world: Neighbours) -> None:
    await followers(world, MANY)
    total, sizes = 0, list[int]()

    async for part in world.relations.StreamRelated(ask(), None):
        total += len(part.items)
        sizes.append(resident_kib())

    assert total == MANY
    # What was streamed would take 30 MiB.
    assert max(sizes[20:]) - max(sizes[:20]) < 2048
