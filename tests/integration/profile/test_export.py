"""Makes sure that an export has everything of one person, whatever its size, and nothing of others."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from beckon.profile.v1 import device_service_pb2 as device_pb
from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.profile.v1 import relation_service_pb2 as relation_pb

from mesh.errors import NotFound
from tests.integration.profile.forgetting import PARENT, Forgetting
from tests.integration.profile.neighbours import an_edge, named
from tests.integration.profile.world import NOW, Profiles, a_record, an_event


async def exported(world: Profiles, profile: str = "ana") -> list[pb.ExportProfileResponse]:
    return [one async for one in streamed(world, profile)]


def streamed(world: Profiles, profile: str = "ana") -> AsyncIterator[pb.ExportProfileResponse]:
    return world.profiles.ExportProfile(pb.ExportProfileRequest(name=named(profile)), None)


def kinds(items: list[pb.ExportProfileResponse]) -> list[str]:
    """Return the kinds of things in the order they came, each once."""
    return list(dict.fromkeys(str(one.WhichOneof("item")) for one in items))


async def register(world: Profiles, profile: str, token: str) -> None:
    await world.devices.RegisterDevice(
        device_pb.RegisterDeviceRequest(
            profile=named(profile), platform=device_pb.Device.PLATFORM_FCM, token=token
        ),
        None,
    )


async def test_everything_is_there_under_whichever_id_and_of_nobody_else(
    profiles: Profiles,
) -> None:
    later = NOW + timedelta(seconds=1)
    await profiles.observe(
        a_record("1", an_event("e1", profile="anon", properties={"page": "/a"})),
        a_record(
            "2",
            an_event("e2", profile="ana", kind="identify", properties={"anonymous_id": "anon"}),
            an_event("e3", profile="ben"),
            received=later,
        ),
    )
    await register(profiles, "anon", "t1")
    await register(profiles, "ben", "t2")
    edges = [("anon", "ben"), ("eve", "ana"), ("ben", "eve")]
    await profiles.relations.BatchPutRelations(
        relation_pb.BatchPutRelationsRequest(
            parent=PARENT, relations=[an_edge(one, "follows", other) for one, other in edges]
        ),
        None,
    )

    items = await exported(profiles, "anon")

    assert kinds(items) == ["profile", "device", "device_transfer", "relation", "event"]
    explained = items[0].profile
    assert explained.profile.name == named("ana")
    assert [one.profile_id for one in explained.members] == ["ana", "anon"]
    assert len(explained.merges) == 1
    events = [one.event for one in items if one.HasField("event")]
    assert [one.event_id for one in events] == ["e2", "e1"]
    assert events[1].properties["page"] == "/a"
    relations = [one.relation for one in items if one.HasField("relation")]
    assert len(relations) == 2
    assert named("ben") not in {getattr(one, "from") for one in relations}
    devices = [one.device.name for one in items if one.HasField("device")]
    assert len(devices) == 1


async def test_a_long_history_comes_in_order_and_whole(profiles: Profiles) -> None:
    count = 1234
    for start in range(0, count, 400):
        events = [an_event(f"e{at:04}") for at in range(start, min(start + 400, count))]
        await profiles.observe(
            a_record(f"{start:05}", *events, received=NOW + timedelta(seconds=start))
        )

    items = await exported(profiles)

    ids = [one.event.event_id for one in items if one.HasField("event")]
    assert ids == [f"e{at:04}" for at in reversed(range(count))]


async def test_nothing_is_held_while_the_reader_takes_its_time(profiles: Profiles) -> None:
    events = [an_event(f"e{at}") for at in range(450)]
    await profiles.observe(a_record("1", *events))
    stream = streamed(profiles)
    for _ in range(100):
        await anext(stream)

    busy = await profiles.fetch(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state LIKE '%transaction%'"
    )
    erasure = await Forgetting(profiles).erase()
    rest = [one async for one in stream]

    assert busy == []
    assert erasure.name
    # What was read ahead, at most a page: the rest is gone.
    assert len(rest) < 200


async def test_who_is_unknown_is_not_found(profiles: Profiles) -> None:
    with pytest.raises(NotFound):
        await exported(profiles, "nobody")
