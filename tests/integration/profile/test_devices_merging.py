"""Makes sure that people may be united and parted while their devices change hands."""

import asyncio
from collections.abc import Awaitable
from random import Random

import pytest
from beckon.profile.v1 import identity_service_pb2 as pb

from mesh.errors import Aborted
from tests.effort import examples
from tests.integration.profile.neighbours import Neighbours, an_edge, named
from tests.integration.profile.world import Profiles

IDS = ["ana", "anon", "ben", "cleo", "dora"]
TOKENS = ["t0", "t1"]
# Whose a token is, by each of the three tables.
OWNED = """
SELECT o.member_id, d.person_id, COALESCE(NULLIF(p.merged_into, ''), p.profile_id)
FROM device_owners AS o JOIN profiles AS p ON p.profile_id = o.member_id
JOIN devices AS d ON d.device_id = o.device_id AND d.member_id = o.member_id
WHERE d.state = 1 AND d.token <> ''
"""
LEFT_BEHIND = """
SELECT FROM {table} AS t JOIN profiles AS p ON p.profile_id = t.member_id
WHERE t.person_id <> COALESCE(NULLIF(p.merged_into, ''), p.profile_id)
"""


async def unite(profiles: Profiles, from_id: str, into: str) -> None:
    request = pb.MergeProfilesRequest(into=named(into), **{"from": named(from_id)})
    await profiles.identity.MergeProfiles(request, None)


async def part(profiles: Profiles, profile: str) -> None:
    merges = await profiles.identity.ListMerges(pb.ListMergesRequest(parent=named(profile)), None)
    for merge in merges.merges:
        request = pb.UnmergeProfilesRequest(name=merge.name)
        await profiles.identity.UnmergeProfiles(request, None)


async def test_united_people_share_devices_until_they_are_parted(
    profiles: Profiles, world: Neighbours
) -> None:
    await world.register("anon", "t0")
    await world.register("ana", "t1")
    await world.put(an_edge("anon", "follows", "ben"))

    await unite(profiles, "anon", "ana")
    assert len(await world.listed("anon")) == 2
    assert await world.related("ana") == ["ben"]
    await part(profiles, "ana")

    assert [len(await world.listed(one)) for one in ("ana", "anon")] == [1, 1]
    assert [await world.related(one) for one in ("ana", "anon")] == [[], ["ben"]]


@pytest.mark.parametrize("seed", range(examples(2)))
async def test_whoever_is_faster_a_token_is_one_person_s(
    profiles: Profiles, world: Neighbours, seed: int
) -> None:
    random = Random(seed)
    doings = list[Awaitable[object]]()
    # So many at once that all have a connection before they give up waiting for one.
    for _ in range(20):
        one, other = random.sample(IDS, 2)
        match random.choice(["register", "unite", "part", "put"]):
            case "register":
                doings += [world.register(one, random.choice(TOKENS)) for _ in range(3)]
            case "unite":
                doings.append(unite(profiles, one, other))
            case "part":
                doings.append(part(profiles, one))
            case _:
                doings.append(world.put(an_edge(one, "follows", other)))

    ends = await asyncio.gather(*doings, return_exceptions=True)

    failures = [end for end in ends if isinstance(end, BaseException)]
    assert all(isinstance(one, Aborted) for one in failures), failures
    assert len(failures) < len(doings) / 4
    owned = await world.fetch(OWNED)
    assert len(owned) == len(TOKENS)
    assert all(person == name for _, person, name in owned)
    assert len(await world.fetch("SELECT FROM devices WHERE state = 1")) == len(TOKENS)
    for table in ("devices", "device_transfers"):
        assert not await world.fetch(LEFT_BEHIND.format(table=table))
