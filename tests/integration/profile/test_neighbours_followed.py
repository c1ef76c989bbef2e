"""Makes sure that segments follow devices and relations, and that the erased get neither."""

from datetime import timedelta

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.rpc.error_details_pb2 import ErrorInfo

from mesh.errors import FailedPrecondition
from mesh.server import Stopping
from services.profile.worker.devices import DeviceExpirer
from tests.integration.profile.forgetting import Forgetting
from tests.integration.profile.neighbours import Neighbours, an_edge
from tests.integration.profile.segmenting import Segments
from tests.integration.profile.world import Profiles


@pytest.fixture
def segments(profiles: Profiles) -> Segments:
    return Segments(profiles)


@pytest.fixture
def world(profiles: Profiles) -> Neighbours:
    return Neighbours(profiles.database, profiles.clock)


async def test_a_segment_of_the_reachable_follows_every_change_of_hands(
    segments: Segments, world: Neighbours
) -> None:
    await segments.made("pushed", 'reachable("push")')

    await world.register("ana")
    assert await segments.members("pushed") == ["ana"]
    at_ben = await world.register("ben")
    assert await segments.members("pushed") == ["ben"]
    await world.release(at_ben.name)
    assert await segments.members("pushed") == []
    await world.register("ben")
    world.clock.advance(timedelta(hours=1))
    await world.retire(world.clock.now(), at_ben.name)
    assert await segments.members("pushed") == []


async def test_a_segment_of_the_unreachable_takes_in_whose_device_is_gone(
    segments: Segments, world: Neighbours
) -> None:
    await world.register("ana")
    await segments.made("unpushed", '!reachable("push")')
    world.clock.advance(timedelta(days=270))

    await DeviceExpirer(world.device_store, world.clock).run_once(Stopping())

    assert await segments.members("unpushed") == ["ana"]


async def test_a_segment_over_relations_follows_puts_and_deletes(
    segments: Segments, world: Neighbours
) -> None:
    await segments.made("fans", 'has_relation("follows", "ben")')
    await world.register("ana")

    await world.put(an_edge("ana", "follows", "ben"), an_edge("nobody", "follows", "ben"))
    assert await segments.members("fans") == ["ana"]
    await world.put(an_edge("ana", "follows", "cleo"))
    await world.delete(an_edge("ana", "follows", "ben"))
    assert await segments.members("fans") == []


async def test_the_erased_get_no_device(profiles: Profiles, world: Neighbours) -> None:
    await world.register("ana")
    await Forgetting(profiles).erase("ana")

    with pytest.raises(FailedPrecondition) as refused:
        await world.register("ana")

    assert refused.value.reason == ErrorReason.ERROR_REASON_PERSON_ERASED
    assert not await world.fetch("SELECT FROM devices")
    assert not await world.fetch("SELECT FROM device_owners")


async def test_an_edge_of_the_erased_falls_alone(profiles: Profiles, world: Neighbours) -> None:
    await world.put(an_edge("ana", "follows", "ben"), an_edge("ben", "follows", "ana"))
    await Forgetting(profiles).erase("ana")

    answer = await world.put(
        an_edge("ana", "follows", "ben"),
        an_edge("ben", "follows", "ana"),
        an_edge("ben", "follows", "cleo"),
    )

    assert answer.created_count == 1
    assert sorted(answer.failed_relations) == [0, 1]
    info = ErrorInfo()
    assert answer.failed_relations[0].details[0].Unpack(info)
    assert info.reason == "PERSON_ERASED"
    assert len(await world.fetch("SELECT FROM relations")) == 1
