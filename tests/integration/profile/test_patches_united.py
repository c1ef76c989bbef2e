"""Makes sure that a person of several ids is read and written by any of them."""

import asyncio
import json

import pytest
from beckon.profile.v1 import profile_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import FailedPrecondition
from tests.integration.profile.forgetting import Forgetting
from tests.integration.profile.test_patches import a_patch, attributes, counts, get, patched
from tests.integration.profile.world import Profiles, a_record, an_event


async def unite(profiles: Profiles, anonymous: str = "anon", known: str = "ana") -> None:
    event = an_event(
        f"identify-{anonymous}",
        profile=known,
        kind="identify",
        properties={"anonymous_id": anonymous},
    )
    await profiles.observe(a_record(f"i-{anonymous}", event))


async def own(profiles: Profiles, member: str) -> str:
    """Return what was recorded under one id."""
    rows = await profiles.fetch("SELECT attributes FROM contributions WHERE member_id = $1", member)
    text: str = rows[0][0]
    return text


async def list_all(profiles: Profiles) -> list[str]:
    request = pb.ListProfilesRequest(parent="workspaces/acme")
    answer = await profiles.profiles.ListProfiles(request, None)
    return [one.name for one in answer.profiles]


async def test_any_id_answers_with_the_person(profiles: Profiles) -> None:
    await patched(profiles, a_patch("anon", set={"a": 1}), a_patch("ana", set={"b": 2}))
    await unite(profiles)

    by_anon, by_ana = await get(profiles, "anon"), await get(profiles, "ana")

    assert by_anon == by_ana
    assert by_ana.name == "workspaces/acme/profiles/ana"
    assert by_ana.member_ids == ["ana", "anon"]
    assert attributes(by_ana) == {"a": 1, "b": 2}
    request = pb.BatchGetProfilesRequest(
        parent="workspaces/acme",
        names=[f"workspaces/acme/profiles/{one}" for one in ("anon", "ana", "anon")],
    )
    answer = await profiles.profiles.BatchGetProfiles(request, None)
    assert list(answer.profiles) == [by_ana] * 3
    assert await list_all(profiles) == [by_ana.name]


async def test_a_write_goes_to_the_id_that_was_named(profiles: Profiles) -> None:
    await patched(profiles, a_patch("anon", set={"a": 1}), a_patch("ana", set={"b": 2}))
    await unite(profiles)

    answer = await patched(
        profiles,
        a_patch("anon", increment={"b": 1}, set={"new": "x"}),
        a_patch("ana", increment={"b": 1}, unset=["a"]),
    )

    assert counts(answer) == (0, 2, 0, [])
    assert answer.consistency_tokens[0] == answer.consistency_tokens[1]
    ana = await get(profiles, "anon", answer.consistency_tokens[0])
    assert attributes(ana) == {"b": 4, "new": "x"}
    assert await own(profiles, "anon") == '{"a": 1, "b": 3, "new": "x"}'
    assert await own(profiles, "ana") == '{"b": 4}'


async def test_an_update_goes_to_the_id_that_was_named(profiles: Profiles) -> None:
    await patched(profiles, a_patch("anon", set={"a": 1}), a_patch("ana", set={"b": 2}))
    await unite(profiles)
    before = await get(profiles)

    message = pb.Profile(name="workspaces/acme/profiles/anon", email="a@b.c", etag=before.etag)
    message.attributes.update({"a": 5})
    request = pb.UpdateProfileRequest(
        profile=message, update_mask=FieldMask(paths=["attributes.a", "attributes.b", "email"])
    )
    after = await profiles.profiles.UpdateProfile(request, None)

    assert after == await get(profiles)
    assert after.name == before.name
    assert after.etag != before.etag
    assert (attributes(after), after.email) == ({"a": 5}, "a@b.c")
    assert await own(profiles, "anon") == '{"a": 5}'


async def test_a_token_from_before_a_merge_holds_after_it(profiles: Profiles) -> None:
    for at in range(5):
        answer = await patched(profiles, a_patch("anon", set={"n": at}))
    await patched(profiles, a_patch("ana", set={"b": 2}))

    await unite(profiles)

    assert attributes(await get(profiles, "ana", answer.consistency_tokens[0]))["n"] == 4


async def test_patches_and_merges_at_once_lose_nothing(profiles: Profiles) -> None:
    ids = ["ana", *(f"anon{at}" for at in range(5))]
    await patched(profiles, *(a_patch(one) for one in ids))

    async def patching(who: int) -> None:
        for at in range(8):
            one = ids[(who + at) % len(ids)]
            answer = await patched(profiles, a_patch(one, set={f"k{who}-{at}": 1}))
            assert not answer.failed_patches

    await asyncio.gather(
        *(patching(who) for who in range(3)), *(unite(profiles, one) for one in ids[1:])
    )

    ana = await get(profiles)
    assert list(ana.member_ids) == sorted(ids)
    expected = {f"k{who}-{at}": 1.0 for who in range(3) for at in range(8)}
    assert attributes(ana) == expected


async def test_the_history_of_a_person_is_that_of_all_ids(profiles: Profiles) -> None:
    await profiles.observe(
        a_record("1", an_event("e1", profile="anon"), an_event("e2", profile="ana"))
    )
    await unite(profiles)

    for one in ("ana", "anon"):
        request = pb.ListProfileEventsRequest(parent=f"workspaces/acme/profiles/{one}")
        found = await profiles.profiles.ListProfileEvents(request, None)
        assert {event.event_id for event in found.events} == {"identify-anon", "e2", "e1"}


async def test_an_erased_person_is_not_created_again(profiles: Profiles) -> None:
    await patched(profiles, a_patch("ana", set={"a": 1}))
    await Forgetting(profiles).erase("ana")

    answer = await patched(profiles, a_patch("ana", set={"a": 1}), a_patch("ben"))

    assert counts(answer) == (1, 0, 0, [0])
    message = pb.Profile(name="workspaces/acme/profiles/ana", locale="de")
    with pytest.raises(FailedPrecondition):
        await profiles.profiles.UpdateProfile(
            pb.UpdateProfileRequest(profile=message, allow_missing=True), None
        )


async def test_what_the_other_id_says_already_is_said_by_this_one_too(profiles: Profiles) -> None:
    await patched(profiles, a_patch("ana", set={"tier": "gold"}), a_patch("anon", set={"a": 1}))
    await unite(profiles)
    before = await get(profiles, "ana")

    first = await patched(profiles, a_patch("anon", set={"tier": "gold"}))
    again = await patched(profiles, a_patch("anon", set={"tier": "gold"}))

    assert (counts(first), counts(again)) == ((0, 1, 0, []), (0, 0, 1, []))
    assert json.loads(await own(profiles, "anon")) == {"a": 1, "tier": "gold"}
    after = await get(profiles, "ana")
    assert attributes(after) == attributes(before)
    assert after.etag != before.etag
