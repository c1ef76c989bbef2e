"""Makes sure that a person who is erased is gone everywhere in profile, at once and for good."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from beckon.profile.v1 import erasure_service_pb2 as pb
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from services.profile.store.erasures import check_not_erased, refused
from tests.integration.profile.forgetting import (
    PARENT,
    REFUSED_FOR,
    Forgetting,
    contents,
    counts_of,
    id_of,
    traces,
)
from tests.integration.profile.world import NOW, Profiles, a_record, an_event

ORDERS = ["order_placed"]


@pytest.fixture
def forgetting(profiles: Profiles) -> Forgetting:
    return Forgetting(profiles)


async def some_people(world: Profiles) -> None:
    """Let ana and ben do things, together in one record."""
    await world.observe(
        a_record(
            "1",
            an_event("e1", profile="ana-x", properties={"code": "ana-secret"}),
            an_event("e2", profile="ben"),
            an_event("e3", profile="ana-x", kind="profile_updated",
                     properties={"email": "ana-x@example.org", "tier": "ana-secret"}),
            an_event("e4", profile="ana-x"),
        ),
        wanted=ORDERS,
    )  # fmt: skip


async def test_nothing_of_the_person_is_left_but_the_word_to_others(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await some_people(profiles)
    before = await contents(profiles)

    erasure = await forgetting.erase("ana-x", reason="asked by mail")

    assert await traces(profiles, "ana-secret") == set()
    # Until the log has taken it.
    assert await traces(profiles, "ana-x") == {"derived_events"}
    assert counts_of(erasure)["history"] == 3
    assert counts_of(erasure)["profiles"] == 1
    left = await contents(profiles)
    assert [row for row in before["profiles"] if "ben" in row] == left["profiles"]
    assert [row for row in before["history"] if "ben" in row] == left["history"]


async def test_the_person_is_not_found_any_more(profiles: Profiles, forgetting: Forgetting) -> None:
    await some_people(profiles)

    await forgetting.erase("ana-x")

    with pytest.raises(NotFound):
        await profiles.profiles.GetProfile(
            profile_pb.GetProfileRequest(name=f"{PARENT}/profiles/ana-x"), None
        )
    assert (await profiles.standing("ana-x")).first_seen_time_us == 0
    assert await profiles.addresses("ana-x") == [("", "")]


async def test_the_receipt_names_nobody_and_says_what_was_removed_where(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await some_people(profiles)

    erasure = await forgetting.erase("ana-x", reason="asked by mail")

    assert erasure.state == pb.Erasure.STATE_RUNNING
    assert "ana" not in str(erasure)
    assert erasure.reason == "asked by mail"
    assert erasure.create_time.ToMicroseconds() == int(NOW.timestamp() * 1_000_000)
    until = erasure.refuse_until_time.ToDatetime(tzinfo=NOW.tzinfo)
    assert until == NOW + REFUSED_FOR
    assert await forgetting.get(erasure.name) == erasure


async def test_one_word_goes_to_each_of_the_ids(profiles: Profiles, forgetting: Forgetting) -> None:
    erasure = await forgetting.erase("ana-x")

    rows = await profiles.fetch(
        "SELECT profile_id, type, properties->>'erasure', properties->'profile_ids'"
        " FROM derived_events"
    )
    assert [tuple(row) for row in rows] == [
        ("ana-x", "profile_erased", str(id_of(erasure)), '["ana-x"]')
    ]


async def test_of_an_unknown_person_there_is_a_receipt_too(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase("nobody")

    assert set(counts_of(erasure).values()) == {0}
    assert (await contents(profiles))["profiles"] == []


async def test_asked_again_it_is_the_same_receipt(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await some_people(profiles)
    first = await forgetting.erase("ana-x")

    again = await forgetting.erase("ana-x", reason="another")
    counted = await forgetting.erase("ana-x", validate_only=True)

    assert again == counted == first
    assert (await contents(profiles))["profiles"] == [
        row for row in (await contents(profiles))["profiles"] if "ben" in row
    ]
    assert len((await contents(profiles))["derived_events"]) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_asked_at_the_same_time_it_is_one_receipt(
    profiles: Profiles, forgetting: Forgetting, known: bool
) -> None:
    if known:
        await some_people(profiles)

    erasures = await asyncio.gather(*(forgetting.erase("ana-x") for _ in range(6)))

    assert len({one.name for one in erasures}) == 1
    assert len((await forgetting.list()).erasures) == 1


async def test_counting_changes_nothing(profiles: Profiles, forgetting: Forgetting) -> None:
    await some_people(profiles)
    before = await contents(profiles)

    counted = await forgetting.erase("ana-x", validate_only=True)

    assert await contents(profiles) == before
    assert counted.name == ""
    assert counts_of(counted) == counts_of(await forgetting.erase("ana-x"))


async def test_it_is_complete_when_all_have_answered(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase()
    await forgetting.record(erasure.name, "trigger", {"enrollments": 2})
    await forgetting.record(erasure.name, "throttle", {"consent": 1})
    assert (await forgetting.get(erasure.name)).state == pb.Erasure.STATE_RUNNING
    profiles.clock.advance(timedelta(seconds=5))

    await forgetting.record(erasure.name, "delivery", {"deliveries": 3})

    done = await forgetting.get(erasure.name)
    assert done.state == pb.Erasure.STATE_COMPLETE
    assert done.complete_time.ToDatetime(tzinfo=NOW.tzinfo) == NOW + timedelta(seconds=5)
    assert [one.service for one in done.removals] == ["profile", "throttle", "trigger", "delivery"]


async def test_what_was_told_first_stands(profiles: Profiles, forgetting: Forgetting) -> None:
    erasure = await forgetting.erase()
    await forgetting.record(erasure.name, "trigger", {"enrollments": 2})

    await forgetting.record(erasure.name, "trigger", {"enrollments": 0, "sends": 1})

    done = await forgetting.get(erasure.name)
    assert counts_of(done, "trigger") == {"enrollments": 2, "sends": 1}


async def test_answers_at_the_same_time_complete_it(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    for _ in range(10):
        erasure = await forgetting.erase(f"p{uuid4()}")

        await asyncio.gather(
            *(
                forgetting.record(erasure.name, service, {"things": 1})
                for service in ("trigger", "throttle", "delivery")
            )
        )

        assert (await forgetting.get(erasure.name)).state == pb.Erasure.STATE_COMPLETE


async def test_an_unknown_erasure_is_not_found(forgetting: Forgetting) -> None:
    name = f"{PARENT}/erasures/{uuid4()}"

    with pytest.raises(NotFound):
        await forgetting.get(name)
    with pytest.raises(NotFound):
        await forgetting.record(name, "trigger", {})
    with pytest.raises(InvalidArgument):
        await forgetting.get(f"{PARENT}/erasures/{'-' * 36}")


async def test_receipts_are_listed_newest_first_in_pages(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    made = []
    for at in range(5):
        made.append((await forgetting.erase(f"p{at}")).name)
        profiles.clock.advance(timedelta(seconds=at % 2))

    first = await forgetting.list(3)
    second = await forgetting.list(3, first.next_page_token)

    listed = [one.name for one in [*first.erasures, *second.erasures]]
    assert sorted(listed) == sorted(made)
    assert listed[0] == made[4]
    assert (len(first.erasures), second.next_page_token) == (3, "")
    with pytest.raises(InvalidArgument):
        await forgetting.list(3, "mine")


async def test_the_erased_are_refused_until_their_time(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase()
    people = [("acme", "ana"), ("acme", "ben"), ("bolt", "ana")]

    async with profiles.database.connection() as db:
        until = NOW + REFUSED_FOR
        before = await refused(db, people, until - timedelta(seconds=1))
        after = await refused(db, people, until)

    assert before == {("acme", "ana"): id_of(erasure)}
    assert after == {}


async def test_who_is_erased_again_after_that_time_gets_another_receipt(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    first = await forgetting.erase()
    profiles.clock.advance(REFUSED_FOR)

    second = await forgetting.erase()

    assert second.name != first.name
    async with profiles.database.connection() as db:
        assert list((await refused(db, [("acme", "ana")], profiles.clock.now())).values()) == [
            id_of(second)
        ]


async def test_writers_are_told_by_which_erasure_they_are_refused(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase()

    with pytest.raises(FailedPrecondition) as error:
        async with profiles.database.transaction() as db:
            await check_not_erased(db, [("acme", "ben"), ("acme", "ana")], NOW)

    assert error.value.metadata == {"erasure": erasure.name}
    async with profiles.database.transaction() as db:
        await check_not_erased(db, [("acme", "ben"), ("bolt", "ana")], NOW)
        # Though nobody has swept up yet.
        await check_not_erased(db, [("acme", "ana")], NOW + REFUSED_FOR)


async def test_answers_about_who_was_one_with_the_person_are_gone_too(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await some_people(profiles)
    merge = await profiles.identity.MergeProfiles(
        identity_pb.MergeProfilesRequest(
            **{"from": f"{PARENT}/profiles/ana-x"}, into=f"{PARENT}/profiles/ben"
        ),
        None,
    )
    await profiles.observe(a_record("2", an_event("e5", profile="ben")), wanted=ORDERS)
    assert "answers" in await traces(profiles, "ana-secret")
    await profiles.identity.UnmergeProfiles(
        identity_pb.UnmergeProfilesRequest(name=merge.name), None
    )

    await forgetting.erase("ana-x")

    assert await traces(profiles, "ana-secret") == set()


async def test_a_reason_that_holds_what_no_text_can_is_no_failure(forgetting: Forgetting) -> None:
    erasure = await forgetting.erase("ana-x", reason="asked\0 by mail")

    assert (await forgetting.get(erasure.name)).reason == "asked by mail"
