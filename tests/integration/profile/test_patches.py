"""Makes sure that patches stand or fall alone, once each, and that none gets lost."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import profile_service_pb2 as pb
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from mesh.errors import AlreadyExists, InvalidArgument, NotFound
from tests.integration.profile.world import Profiles, a_record, an_event


def a_patch(profile: str = "ana", etag: str = "", **operations: object) -> pb.ProfilePatch:
    patch = pb.ProfilePatch(profile=f"workspaces/acme/profiles/{profile}", etag=etag)
    for name, values in operations.items():
        if name == "unset":
            assert isinstance(values, list)
            patch.unset.extend(values)
        else:
            assert isinstance(values, dict)
            getattr(patch, name).update(values)
    return patch


async def patched(
    profiles: Profiles, *patches: pb.ProfilePatch, request_id: str = "", validate_only: bool = False
) -> pb.PatchProfilesResponse:
    request = pb.PatchProfilesRequest(
        parent="workspaces/acme",
        patches=patches,
        request_id=request_id or str(uuid4()),
        validate_only=validate_only,
    )
    return await profiles.profiles.PatchProfiles(request, None)


async def get(profiles: Profiles, profile: str = "ana", token: str = "") -> pb.Profile:
    name = f"workspaces/acme/profiles/{profile}"
    request = pb.GetProfileRequest(name=name, consistency_token=token)
    return await profiles.profiles.GetProfile(request, None)


def attributes(profile: pb.Profile) -> dict[str, object]:
    values: dict[str, object] = MessageToDict(profile.attributes)
    return values


def reason(status: Status) -> tuple[str, dict[str, str]]:
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, dict(info.metadata)


def counts(answer: pb.PatchProfilesResponse) -> tuple[int, int, int, list[int]]:
    return (
        answer.created_count,
        answer.updated_count,
        answer.unchanged_count,
        sorted(answer.failed_patches),
    )


async def test_operations_are_done_in_their_order(profiles: Profiles) -> None:
    await patched(profiles, a_patch(set={"n": 1, "likes": ["a", "b"], "gone": True}))

    await patched(
        profiles,
        a_patch(
            set={"n": 5, "email": "ana@example.com"},
            set_once={"n": 9, "first": "x"},
            increment={"n": 0.5, "new": 2},
            append={"likes": ["b", "c"], "tags": "t"},
            remove={"likes": "a"},
            unset=["gone", "first"],
        ),
    )

    ana = await get(profiles)
    assert attributes(ana) == {"n": 5.5, "likes": ["b", "c"], "new": 2, "tags": ["t"]}
    assert ana.email == "ana@example.com"


async def test_each_patch_stands_or_falls_alone(profiles: Profiles) -> None:
    await patched(profiles, a_patch("ben", set={"size": 1}))

    answer = await patched(
        profiles,
        a_patch("ana", set={"size": 2}),
        a_patch("ben", set={"size": "large", "tier": "gold"}),
        a_patch("ben", set={"size": 1}),
        a_patch("ben", set={"email": "nobody"}),
        a_patch("ben", set={"a": "\0"}),
        a_patch("ben", set={"size": 2}),
        a_patch("cid", increment={"n": float("inf")}),
        a_patch("dan"),
    )

    assert counts(answer) == (2, 1, 1, [1, 3, 4, 6])
    assert reason(answer.failed_patches[1]) == (
        "ATTRIBUTE_TYPE_CONFLICT",
        {"attribute": "size", "type": "NUMBER", "got": "STRING"},
    )
    assert "attribute size takes NUMBER, got STRING" in answer.failed_patches[1].message
    assert reason(answer.failed_patches[3])[0] == "FIELD_INVALID"
    assert sorted(answer.consistency_tokens) == [0, 2, 5, 7]
    assert attributes(await get(profiles, "ben")) == {"size": 2}
    assert attributes(await get(profiles, "dan")) == {}
    with pytest.raises(NotFound):
        await get(profiles, "cid")


async def test_patches_of_one_profile_are_done_in_order_under_one_version(
    profiles: Profiles,
) -> None:
    many = [a_patch(increment={"n": 1}, append={"seen": at}) for at in range(100)]

    answer = await patched(profiles, *many)

    ana = await get(profiles)
    assert counts(answer) == (1, 99, 0, [])
    assert attributes(ana) == {"n": 100, "seen": list(range(100))}
    assert ana.etag == "1"


async def test_a_number_beyond_a_double_grows_by_one(profiles: Profiles) -> None:
    long = b'{"n": 9007199254740993}'
    await profiles.observe(a_record("1", an_event(kind="profile_updated", properties=long)))

    await patched(profiles, a_patch(increment={"n": 1}))

    assert (await profiles.standing()).attributes_json == b'{"n": 9007199254740994}'


async def test_what_changes_nothing_writes_nothing(profiles: Profiles) -> None:
    await patched(profiles, a_patch(set={"home": {"b": 1, "aa": [True, 2.5]}}))
    before = await get(profiles)

    answer = await patched(
        profiles, a_patch(set={"home": {"aa": [True, 2.5], "b": 1.0}}, set_once={"home": 5})
    )

    assert counts(answer) == (0, 0, 1, [])
    assert await get(profiles) == before


async def test_an_etag_must_be_current(profiles: Profiles) -> None:
    await patched(profiles, a_patch(set={"n": 1}))
    etag = (await get(profiles)).etag

    answer = await patched(
        profiles,
        a_patch("ana", etag, increment={"n": 1}),
        a_patch("ana", etag, increment={"n": 1}),
        a_patch("ben", etag, set={"n": 1}),
    )

    assert counts(answer) == (0, 1, 0, [1, 2])
    assert reason(answer.failed_patches[1])[0] == "ETAG_MISMATCH"
    assert attributes(await get(profiles)) == {"n": 2}


async def test_a_dry_run_says_the_same_and_writes_nothing(profiles: Profiles) -> None:
    await patched(profiles, a_patch("ben", set={"n": 1}))
    wanted = [
        a_patch("ana", set={"other": 1}),
        a_patch("ana", set={"other": "1"}),
        a_patch("ben", increment={"n": 1}),
    ]
    request_id = str(uuid4())

    said = await patched(profiles, *wanted, validate_only=True, request_id=request_id)

    assert counts(said) == (1, 1, 0, [1])
    with pytest.raises(NotFound):
        await get(profiles, "ana")
    assert await profiles.fetch("SELECT key FROM attributes WHERE key = 'other'") == []
    done = await patched(profiles, *wanted, request_id=request_id)
    assert counts(done) == counts(said)


async def test_a_repeat_has_one_effect_and_one_answer(profiles: Profiles) -> None:
    request_id = str(uuid4())
    patches = [a_patch("ana", increment={"n": 1}), a_patch("ben", append={"l": "x"})]

    answers = await asyncio.gather(
        *(patched(profiles, *patches, request_id=request_id) for _ in range(20))
    )

    assert all(answer == answers[0] for answer in answers)
    assert counts(answers[0]) == (2, 0, 0, [])
    assert attributes(await get(profiles)) == {"n": 1}
    with pytest.raises(AlreadyExists):
        await patched(profiles, a_patch("ana", increment={"n": 2}), request_id=request_id)


async def test_patches_and_events_at_once_lose_nothing(profiles: Profiles) -> None:
    async def patching(who: int) -> None:
        for at in range(10):
            people = [a_patch(one, increment={"n": 1}) for one in ("ana", "ben", "cid")]
            await patched(profiles, *(people if at % 2 else people[::-1]), a_patch(f"p{who}-{at}"))

    async def events() -> None:
        for at in range(10):
            change = an_event(f"c{at}", kind="profile_updated", properties={"$increment": {"n": 1}})
            await profiles.observe(a_record(str(at), change))

    await asyncio.gather(patching(1), patching(2), patching(3), events())

    assert attributes(await get(profiles, "ana")) == {"n": 40}
    assert attributes(await get(profiles, "ben")) == {"n": 30}


async def test_patches_and_events_about_the_same_people_never_wait_in_a_ring(
    profiles: Profiles,
) -> None:
    """Some people of a turn are only counted, others change: in one order all the same."""
    ids = [f"p{at:02}" for at in range(40)]
    await patched(profiles, *map(a_patch, ids))

    async def patching() -> None:
        for _ in range(10):
            await patched(profiles, *(a_patch(one, increment={"n": 1}) for one in ids))

    async def events() -> None:
        for at in range(10):
            change = {"$increment": {"n": 1}}
            turn = [
                an_event(f"c{at}-{one}", profile=one, kind="profile_updated", properties=change)
                for one in ids[:20]
            ]
            turn += [an_event(f"e{at}-{one}", profile=one) for one in ids[20:]]
            await profiles.observe(a_record(str(at), *turn))

    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await profiles.fetch(deadlocks)

    await asyncio.gather(patching(), events())

    assert attributes(await get(profiles, ids[0])) == {"n": 20}
    assert attributes(await get(profiles, ids[-1])) == {"n": 10}
    assert await profiles.fetch(deadlocks) == before


async def test_patches_of_who_cannot_be_fall_alone(profiles: Profiles) -> None:
    bad = [
        pb.ProfilePatch(profile=name)
        for name in ("workspaces/bolt/profiles/ana", "workspaces/acme/profiles/a b", "", "ana")
    ]

    answer = await patched(profiles, a_patch(set={"n": 1}), *bad, a_patch(etag="1" * 65))

    assert counts(answer) == (1, 0, 0, [1, 2, 3, 4, 5])
    assert attributes(await get(profiles)) == {"n": 1}
    assert len(await profiles.fetch("SELECT FROM profiles")) == 1


@pytest.mark.parametrize(
    "call",
    [
        {"parent": "workspaces/acme/profiles/ana"},
        {"request_id": "again"},
        {"patches": []},
        {"patches": [a_patch()] * 1001},
    ],
)
async def test_a_call_that_makes_no_sense_is_refused(
    profiles: Profiles, call: dict[str, Any]
) -> None:
    fit = {"parent": "workspaces/acme", "request_id": str(uuid4()), "patches": [a_patch()]}

    with pytest.raises(InvalidArgument):
        await profiles.profiles.PatchProfiles(pb.PatchProfilesRequest(**(fit | call)), None)


async def test_a_token_lets_nothing_older_be_read(profiles: Profiles) -> None:
    first = (await patched(profiles, a_patch(set={"n": 1}))).consistency_tokens[0]
    second = (await patched(profiles, a_patch(set={"n": 2}))).consistency_tokens[0]

    assert (await get(profiles, token=first)).consistency_token == second
    assert attributes(await get(profiles, token=second)) == {"n": 2}
    assert first != second


async def test_the_reason_of_a_limit_is_told(profiles: Profiles) -> None:
    for begin in range(0, 2000, 250):
        keys = {f"k{at}": at for at in range(begin, begin + 250)}
        await patched(profiles, a_patch(f"p{begin}", set=keys))

    answer = await patched(profiles, a_patch(set={"k5": 1, "more": 1}), a_patch(set={"k5": 1}))

    assert counts(answer) == (1, 0, 0, [0])
    assert reason(answer.failed_patches[0]) == (
        ErrorReason.Name(ErrorReason.ERROR_REASON_LIMIT_REACHED).removeprefix("ERROR_REASON_"),
        {"collection": "attributes", "limit": "2000"},
    )
