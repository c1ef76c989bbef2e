"""Makes sure that an erasure reaches every table there is, also those that are still to come."""

import asyncio
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from beckon.profile.v1 import device_service_pb2 as device_pb
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import relation_service_pb2 as relation_pb
from beckon.profile.v1 import segment_service_pb2 as segment_pb

from tests.integration.profile.forgetting import PARENT, Forgetting, counts_of, traces
from tests.integration.profile.reckoning import a_trait, declare
from tests.integration.profile.segmenting import Segments
from tests.integration.profile.world import Profiles, a_record, an_event
from tests.waiting import eventually

IDS = ("ana-x", "anon-x", "alias-x", "parted-x")
# Whatever has such a column keeps something of somebody.
OF_PEOPLE = """
SELECT DISTINCT c.table_name::text FROM information_schema.columns AS c
JOIN pg_class AS t ON t.relname = c.table_name AND NOT t.relispartition
    AND t.relnamespace = 'profile'::regnamespace
WHERE c.table_schema = 'profile'
    AND c.column_name IN ('profile_id', 'person_id', 'member_id', 'from_member', 'from_id')
"""


def named(profile: str) -> str:
    return f"{PARENT}/profiles/{profile}"


@pytest.fixture
def forgetting(profiles: Profiles) -> Forgetting:
    return Forgetting(profiles)


async def register(world: Profiles, profile: str, token: str) -> None:
    await world.devices.RegisterDevice(
        device_pb.RegisterDeviceRequest(
            profile=named(profile), platform=device_pb.Device.PLATFORM_FCM, token=token
        ),
        None,
    )


async def put(world: Profiles, *edges: tuple[str, str]) -> None:
    request = relation_pb.BatchPutRelationsRequest(parent=PARENT)
    for one, other in edges:
        relation = request.relations.add(kind="follows", to=named(other))
        setattr(relation, "from", named(one))
    await world.relations.BatchPutRelations(request, None)


async def merge(world: Profiles, from_id: str, into: str) -> str:
    request = identity_pb.MergeProfilesRequest(into=named(into))
    setattr(request, "from", named(from_id))
    return (await world.identity.MergeProfiles(request, None)).name


async def a_full_life(world: Profiles) -> None:
    """Let a person with several ids leave traces wherever there is a place for them."""
    segments = Segments(world)
    await declare(world, a_trait(rolling=timedelta(days=2)))
    await segments.made("buyers", 'profile.counters["order_placed"].count > 0')
    await segments.made("quiet", "profile.last_seen_time < now - duration('24h')")
    moments = enumerate((*IDS, "ben"))
    await world.observe(
        *(a_record(f"0{at}", an_event(f"o{at}", profile=one)) for at, one in moments),
        wanted=["order_placed"],
    )
    await merge(world, "alias-x", "ana-x")
    parted = await merge(world, "parted-x", "ana-x")
    # Still being built, as others unite.
    await segments.create("later", "has(profile.attributes.tier)")
    await world.observe(
        a_record(
            "10",
            an_event("i1", profile="ana-x", kind="identify", properties={"anonymous_id": "anon-x"}),
            an_event("i2", profile="ben", kind="identify", properties={"anonymous_id": "anon-x"}),
            an_event("u1", profile="anon-x", kind="profile_updated", properties={"tier": "gold-x"}),
        ),
        wanted=["identify"],
    )
    await world.identity.UnmergeProfiles(identity_pb.UnmergeProfilesRequest(name=parted), None)
    await register(world, "anon-x", "token-1")
    await register(world, "ben", "token-1")
    await register(world, "ana-x", "token-2")
    await put(world, ("anon-x", "ben"), ("eve", "alias-x"))
    patch = profile_pb.ProfilePatch(profile=named("ana-x"))
    patch.set.update({"email": "ana-x@example.org"})
    await world.profiles.PatchProfiles(
        profile_pb.PatchProfilesRequest(parent=PARENT, request_id=str(uuid4()), patches=[patch]),
        None,
    )


async def test_there_is_no_table_of_people_that_keeps_the_erased(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await a_full_life(profiles)
    of_people = {row[0] for row in await profiles.fetch(OF_PEOPLE)}
    before = {table for one in IDS for table in await traces(profiles, one)}

    erasure = await forgetting.erase("anon-x")
    await forgetting.erase("parted-x")

    # This test says something of each of them: a new table belongs into `a_full_life` and AREAS.
    assert before >= of_people
    # What others did stays theirs, also where it names somebody: ben claimed to be anon-x.
    assert await profiles.fetch("DELETE FROM history WHERE profile_id = 'ben' RETURNING 1")
    for one in (*IDS, "gold-x"):
        # The word to the other services; what a request was answered, for a day.
        assert await traces(profiles, one) <= {"derived_events", "replies"}
    words = await profiles.fetch(
        "SELECT DISTINCT type FROM derived_events WHERE profile_id <> 'ben'"
    )
    assert [row[0] for row in words] == ["profile_erased"]
    assert all(count > 0 for count in counts_of(erasure).values()), counts_of(erasure)


async def test_others_keep_what_is_theirs(profiles: Profiles, forgetting: Forgetting) -> None:
    await a_full_life(profiles)

    await forgetting.erase("ana-x")
    await forgetting.erase("parted-x")

    assert await profiles.count(profile="ben") == 1
    assert await Segments(profiles).members("buyers") == ["ben"]
    shown = await profiles.devices.ListDeviceTransfers(
        device_pb.ListDeviceTransfersRequest(parent=named("ben")), None
    )
    assert [getattr(one, "from") for one in shown.transfers] == [""]


async def is_built(segments: Segments, segment: str) -> bool:
    """Build on, and say whether that was all."""
    await segments.build()
    return (await segments.get(segment)).state == segment_pb.Segment.STATE_ACTIVE


async def test_a_segment_that_is_built_meanwhile_does_not_take_the_person_in(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    for attempt in range(5):
        segments = Segments(profiles, piece=3)
        people = [f"p{attempt}.{at}-x" for at in range(20)]
        events = [an_event(f"s{attempt}.{at}", profile=one) for at, one in enumerate(people)]
        await profiles.observe(a_record(f"2{attempt}", *events))
        await segments.create(f"all-{attempt}", "true")

        await asyncio.gather(segments.build(), *(forgetting.erase(one) for one in people[::4]))
        await eventually(partial(is_built, segments, f"all-{attempt}"))

        for one in people[::4]:
            assert await traces(profiles, one) <= {"derived_events"}
        assert len(await segments.members(f"all-{attempt}")) == 15 * (attempt + 1)
