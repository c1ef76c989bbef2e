"""Makes sure that ids that are one person read as one, and can be taken apart to the letter."""

import asyncio
import json

import pytest
from beckon.profile.v1 import identity_service_pb2 as pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.integration.profile.world import Profiles, a_record, an_event

LIVE, UNDONE, REFUSED = (
    pb.Merge.STATE_LIVE,
    pb.Merge.STATE_UNDONE,
    pb.Merge.STATE_REFUSED,
)


def named(profile: str, workspace: str = "acme") -> str:
    return f"workspaces/{workspace}/profiles/{profile}"


async def merge(profiles: Profiles, from_id: str, into: str, reason: str = "") -> pb.Merge:
    request = pb.MergeProfilesRequest(into=named(into), reason=reason, **{"from": named(from_id)})
    return await profiles.identity.MergeProfiles(request, None)


async def unmerge(profiles: Profiles, merge: pb.Merge) -> pb.Merge:
    return await profiles.identity.UnmergeProfiles(pb.UnmergeProfilesRequest(name=merge.name), None)


async def merges(profiles: Profiles, profile: str) -> list[tuple[str, str, int]]:
    request = pb.ListMergesRequest(parent=named(profile))
    found = (await profiles.identity.ListMerges(request, None)).merges
    return [
        (getattr(one, "from").rpartition("/")[2], one.into.rpartition("/")[2], one.state)
        for one in found
    ]


async def get(profiles: Profiles, profile: str) -> profile_pb.Profile:
    return await profiles.profiles.GetProfile(
        profile_pb.GetProfileRequest(name=named(profile)), None
    )


async def known(profiles: Profiles, profile: str) -> dict[str, object]:
    """Return what is known of a person, whatever the version."""
    shown = await get(profiles, profile)
    return {
        "attributes": dict(shown.attributes),
        "fields": (shown.email, shown.phone, shown.time_zone, shown.locale),
        "counters": {
            kind: (one.count, one.first_time.ToMicroseconds(), one.last_time.ToMicroseconds())
            for kind, one in shown.counters.items()
        },
        "seen": (shown.first_seen_time.ToMicroseconds(), shown.last_seen_time.ToMicroseconds()),
        "created": shown.create_time.ToMicroseconds(),
    }


async def owed(profiles: Profiles) -> list[tuple[str, str, dict[str, object]]]:
    rows = await profiles.fetch(
        "SELECT type, profile_id, properties FROM derived_events ORDER BY derived_id"
    )
    return [(row[0], row[1], json.loads(row[2])) for row in rows]


async def two_people(profiles: Profiles) -> None:
    """Let ana have bought twice and set attributes, and a1 have looked around."""
    await profiles.observe(
        a_record(
            "1",
            an_event("e1"),
            an_event("e2"),
            an_event(
                "e3",
                kind="profile_updated",
                properties={"tier": "gold", "size": 38, "email": "ana@example.com"},
            ),
            an_event("e4", profile="a1", kind="product_viewed"),
            an_event("e5", profile="a1"),
            an_event("e6", profile="a1", kind="profile_updated", properties={"theme": "dark"}),
        )
    )


async def test_united_ids_read_as_one_person_by_any_of_them(profiles: Profiles) -> None:
    await two_people(profiles)

    made = await merge(profiles, "a1", "ana", reason="same card")

    assert (made.state, made.origin, made.reason) == (LIVE, pb.Merge.ORIGIN_CALL, "same card")
    shown = await get(profiles, "a1")
    assert shown == await get(profiles, "ana")
    assert shown.name == named("ana")
    assert list(shown.member_ids) == ["a1", "ana"]
    assert dict(shown.attributes) == {"tier": "gold", "size": 38, "theme": "dark"}
    assert shown.email == "ana@example.com"
    assert {kind: one.count for kind, one in shown.counters.items()} == {
        "order_placed": 3,
        "product_viewed": 1,
        "profile_updated": 2,
    }
    assert await profiles.addresses("a1", "ana") == [("ana@example.com", "")] * 2


async def test_a_standing_says_under_which_name_the_person_goes(profiles: Profiles) -> None:
    await two_people(profiles)
    await merge(profiles, "a1", "ana")

    by_pointer, by_name = await profiles.standing("a1"), await profiles.standing("ana")

    assert (by_pointer.profile_id, by_name.profile_id) == ("ana", "")
    assert list(by_pointer.member_ids) == list(by_name.member_ids) == ["a1", "ana"]
    assert (await profiles.standing("nobody")).profile_id == ""


async def test_history_of_all_ids_is_the_persons(profiles: Profiles) -> None:
    await two_people(profiles)
    await merge(profiles, "a1", "ana")

    request = profile_pb.ListProfileEventsRequest(parent=named("a1"))
    events = (await profiles.profiles.ListProfileEvents(request, None)).events

    assert sorted(one.event_id for one in events) == ["e1", "e2", "e3", "e4", "e5", "e6"]


async def test_taking_a_merge_back_restores_each_to_the_letter(profiles: Profiles) -> None:
    await two_people(profiles)
    before = {name: await known(profiles, name) for name in ("ana", "a1")}
    made = await merge(profiles, "a1", "ana")

    undone = await unmerge(profiles, made)

    assert undone.state == UNDONE
    assert undone.HasField("undo_time")
    assert {name: await known(profiles, name) for name in ("ana", "a1")} == before
    assert await profiles.fetch("SELECT FROM contributions") == []
    assert await merges(profiles, "ana") == [("a1", "ana", UNDONE)]
    assert await merges(profiles, "a1") == [("a1", "ana", UNDONE)]


async def test_what_was_recorded_while_united_stays_with_its_id(profiles: Profiles) -> None:
    await two_people(profiles)
    made = await merge(profiles, "a1", "ana")
    await profiles.observe(
        a_record(
            "2",
            an_event("l1", profile="a1"),
            an_event(
                "l2", profile="a1", kind="profile_updated", properties={"tier": "gold", "size": 40}
            ),
            an_event("l3", kind="profile_updated", properties={"theme": None}),
        )
    )
    assert dict((await get(profiles, "ana")).attributes) == {"tier": "gold", "size": 40}

    await unmerge(profiles, made)

    assert dict((await get(profiles, "ana")).attributes) == {"tier": "gold", "size": 38}
    # It said `gold` as well: that she is gold already makes it no less its own word.
    assert dict((await get(profiles, "a1")).attributes) == {
        "tier": "gold",
        "size": 40,
        "theme": "dark",
    }
    assert await profiles.count(profile="a1") == 2
    assert await profiles.count(profile="ana") == 2


async def test_versions_only_grow_by_merging_and_parting(profiles: Profiles) -> None:
    await two_people(profiles)

    async def versions() -> dict[str, int]:
        rows = await profiles.fetch("SELECT profile_id, version FROM profiles")
        return {row[0]: row[1] for row in rows}

    apart = await versions()
    made = await merge(profiles, "a1", "ana")
    united = await versions()
    await unmerge(profiles, made)
    parted = await versions()

    for name in ("ana", "a1"):
        assert apart[name] < united[name] < parted[name]


async def test_merging_is_idempotent_and_names_the_merge_that_did_it(profiles: Profiles) -> None:
    await two_people(profiles)
    first = await merge(profiles, "a1", "ana")
    second = await merge(profiles, "b1", "a1")

    assert await merge(profiles, "a1", "ana") == first
    assert await merge(profiles, "ana", "a1") == first
    assert await merge(profiles, "ana", "b1") == second
    assert await merges(profiles, "b1") == [("b1", "a1", LIVE), ("a1", "ana", LIVE)]


async def test_ids_that_are_missing_come_into_being(profiles: Profiles) -> None:
    made = await merge(profiles, "new-2", "new-1")

    assert list((await get(profiles, "new-2")).member_ids) == ["new-1", "new-2"]
    await unmerge(profiles, made)
    assert (await get(profiles, "new-2")).name == named("new-2")


async def test_taking_back_is_idempotent_and_a_stranger_is_not_found(profiles: Profiles) -> None:
    made = await merge(profiles, "a1", "ana")
    undone = await unmerge(profiles, made)

    assert await unmerge(profiles, made) == undone
    stranger = pb.Merge(name="workspaces/acme/merges/6e1c4a52-0d0b-5c4e-9c53-6a2f0a1f7be1")
    with pytest.raises(NotFound):
        await unmerge(profiles, stranger)


async def test_a_chain_parts_at_the_link_that_is_taken_back(profiles: Profiles) -> None:
    links = [await merge(profiles, f"p{at}", f"p{at + 1}") for at in range(5)]
    assert (await get(profiles, "p0")).name == named("p5")

    await unmerge(profiles, links[2])

    assert list((await get(profiles, "p0")).member_ids) == ["p0", "p1", "p2"]
    assert (await get(profiles, "p1")).name == named("p2")
    assert list((await get(profiles, "p4")).member_ids) == ["p3", "p4", "p5"]
    assert (await get(profiles, "p3")).name == named("p5")


async def test_a_cycle_adds_nothing(profiles: Profiles) -> None:
    first = await merge(profiles, "a", "b")
    await merge(profiles, "b", "c")

    assert await merge(profiles, "c", "a") not in (None, first)
    assert len(await merges(profiles, "a")) == 2
    assert (await get(profiles, "a")).name == named("c")


async def test_more_than_a_hundred_ids_are_refused(profiles: Profiles) -> None:
    for at in range(1, 100):
        await merge(profiles, f"p{at}", "p0")

    with pytest.raises(FailedPrecondition) as refused:
        await merge(profiles, "p100", "p0")

    assert refused.value.metadata == {"resourceName": named("p0"), "limit": "100"}
    assert len((await get(profiles, "p0")).member_ids) == 100


async def test_people_of_two_workspaces_are_never_united(profiles: Profiles) -> None:
    request = pb.MergeProfilesRequest(into=named("ana"), **{"from": named("a1", "bolt")})
    with pytest.raises(InvalidArgument):
        await profiles.identity.MergeProfiles(request, None)
    with pytest.raises(InvalidArgument):
        await merge(profiles, "ana", "ana")


async def test_merges_are_listed_page_by_page_newest_first(profiles: Profiles) -> None:
    for at in range(5):
        await merge(profiles, f"p{at}", "ana")

    seen, token = [], ""
    while True:
        request = pb.ListMergesRequest(parent=named("p3"), page_size=2, page_token=token)
        page = await profiles.identity.ListMerges(request, None)
        seen += [getattr(one, "from") for one in page.merges]
        token = page.next_page_token
        if not token:
            break

    assert seen == [named(f"p{at}") for at in (4, 3, 2, 1, 0)]


async def test_the_log_is_owed_who_was_united_and_parted(profiles: Profiles) -> None:
    await merge(profiles, "a1", "a2")
    made = await merge(profiles, "a2", "ana")
    await unmerge(profiles, made)

    told = await owed(profiles)

    merge_id = made.name.rpartition("/")[2]
    assert [(kind, name) for kind, name, _ in told] == [
        ("profile_merged", "a2"),
        ("profile_merged", "ana"),
        ("profile_unmerged", "a2"),
        ("profile_unmerged", "ana"),
    ]
    versions = [int(str(one.pop("version"))) for _, _, one in told]
    assert told[1][2] == {
        "merge": merge_id,
        "into": "ana",
        "member_ids": ["a1", "a2", "ana"],
        "moved_ids": ["a1", "a2"],
    }
    assert told[2][2] == {"merge": merge_id, "member_ids": ["a1", "a2"]}
    assert versions[0] < versions[1] < versions[2] == versions[3]


async def test_many_merges_at_once_end_in_one_person(profiles: Profiles) -> None:
    await two_people(profiles)
    pairs = [("ana", "a1"), ("a1", "b"), ("b", "ana")]
    pairs += [(f"p{at}", f"p{(at + 1) % 17}") for at in range(17)] + [("p3", "ana")]

    await asyncio.gather(*(merge(profiles, one, other) for one, other in pairs))

    shown = await get(profiles, "p11")
    assert len(shown.member_ids) == 20
    assert {(await get(profiles, one)).name for one in shown.member_ids} == {shown.name}
    assert shown.counters["order_placed"].count == 3
    live = [one for one in await merges(profiles, "b") if one[2] == LIVE]
    assert len(live) == 19


async def test_merging_and_parting_at_once_never_loses_anything(profiles: Profiles) -> None:
    await two_people(profiles)
    before = {name: await known(profiles, name) for name in ("ana", "a1")}

    async def back_and_forth(one: str, other: str) -> None:
        for _ in range(6):
            await unmerge(profiles, await merge(profiles, one, other))

    await asyncio.gather(
        back_and_forth("a1", "ana"), back_and_forth("ana", "a1"), back_and_forth("c", "a1")
    )

    assert {name: await known(profiles, name) for name in ("ana", "a1")} == before


async def test_merges_in_the_midst_of_turns_lose_no_event(profiles: Profiles) -> None:
    async def observe(lane: int) -> None:
        for turn in range(8):
            who = ("ana", "a1", "a2")[lane]
            events = [an_event(f"{lane}-{turn}-{at}", profile=who) for at in range(3)]
            await profiles.observe(a_record(f"{turn:04}", *events, partition=lane))

    async def unite() -> None:
        for _ in range(3):
            made = await merge(profiles, "a1", "ana")
            await merge(profiles, "a2", "a1")
            await unmerge(profiles, made)

    await asyncio.gather(observe(0), observe(1), observe(2), unite())
    await merge(profiles, "a1", "ana")
    await merge(profiles, "a2", "ana")

    assert await profiles.count(profile="a2") == 72
    assert len(await profiles.history()) == 72
