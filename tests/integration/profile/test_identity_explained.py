"""Makes sure that what is known of a person can be traced to the id and the moment it came from."""

import pytest
from beckon.profile.v1 import profile_service_pb2 as pb

from mesh.errors import NotFound
from tests.integration.profile.test_identity import LIVE, merge, named, two_people
from tests.integration.profile.world import NOW, Profiles, micros


async def explain(profiles: Profiles, profile: str) -> pb.ProfileExplanation:
    request = pb.ExplainProfileRequest(name=named(profile))
    return await profiles.profiles.ExplainProfile(request, None)


async def test_each_id_is_shown_with_its_own_and_each_attribute_with_its_source(
    profiles: Profiles,
) -> None:
    await two_people(profiles)
    made = await merge(profiles, "a1", "ana")

    explained = await explain(profiles, "a1")

    assert explained.profile.name == named("ana")
    assert [one.profile_id for one in explained.members] == ["a1", "ana"]
    assert {kind: one.count for kind, one in explained.members[0].counters.items()} == {
        "order_placed": 1,
        "product_viewed": 1,
        "profile_updated": 1,
    }
    assert explained.members[1].last_seen_time.ToMicroseconds() == micros(NOW)
    assert [(one.key, one.profile_id) for one in explained.sources] == [
        ("email", "ana"),
        ("size", "ana"),
        ("theme", "a1"),
        ("tier", "ana"),
    ]
    assert explained.sources[0].write_time.ToMicroseconds() == micros(NOW)
    assert list(explained.merges) == [made]
    assert explained.merges[0].state == LIVE


async def test_who_has_but_one_id_is_explained_as_well(profiles: Profiles) -> None:
    await two_people(profiles)

    explained = await explain(profiles, "ana")

    assert [one.profile_id for one in explained.members] == ["ana"]
    assert [one.key for one in explained.sources] == ["email", "size", "tier"]
    assert not explained.merges


async def test_nobody_cannot_be_explained(profiles: Profiles) -> None:
    with pytest.raises(NotFound):
        await explain(profiles, "nobody")
