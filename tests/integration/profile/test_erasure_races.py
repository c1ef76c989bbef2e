"""Makes sure that nobody who is writing an erased person meanwhile, or comes late, brings them back.

Other writers are real ones: a turn of `ObserveEvents` that is overtaken between two of its steps,
or that has written and not yet committed while the erasure waits.
"""

import asyncio
from datetime import timedelta

import pytest
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import observation_service_pb2 as observation_pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import relation_service_pb2 as relation_pb

from mesh.errors import Aborted, FailedPrecondition
from services.profile.convert.tokens import token
from services.profile.store import Turn
from tests.integration.profile.forgetting import (
    PARENT,
    REFUSED_FOR,
    Forgetting,
    contents,
    counts_of,
    traces,
)
from tests.integration.profile.world import Profiles, a_record, an_event
from tests.waiting import eventually

ORDERS = ["order_placed"]
# Until the log has taken it, the word to the other services names the person.
THE_WORD = {"derived_events"}


@pytest.fixture
def forgetting(profiles: Profiles) -> Forgetting:
    return Forgetting(profiles)


def a_shared_record(position: str = "1") -> observation_pb.ObservedRecord:
    """Return a record of ana-x and of ben."""
    return a_record(
        position,
        an_event("e1", profile="ana-x"),
        an_event("e2", profile="ben"),
        an_event("e3", profile="ana-x"),
    )


async def test_late_events_are_refused_counted_and_kept_nowhere(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase("ana-x")

    answer = await profiles.observe(a_shared_record(), wanted=ORDERS)

    assert list(answer.erased_events) == [0, 2]
    assert sorted(answer.event_standings) == [1]
    assert not answer.failed_events
    assert await traces(profiles, "ana-x") == THE_WORD
    assert (await forgetting.get(erasure.name)).refused_event_count == 2


async def test_a_repeat_of_late_events_is_answered_alike_and_not_counted_again(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase("ana-x")

    first = await profiles.observe(a_shared_record(), wanted=ORDERS)
    again = await profiles.observe(a_shared_record(), wanted=ORDERS)

    assert again == first
    assert (await forgetting.get(erasure.name)).refused_event_count == 2


async def test_the_word_of_the_erasure_is_refused_too_and_counts_for_nothing(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase("ana-x")

    answer = await profiles.observe(a_record("1", an_event(profile="ana-x", kind="profile_erased")))

    assert list(answer.erased_events) == [0]
    assert (await forgetting.get(erasure.name)).refused_event_count == 0


async def test_after_their_time_the_ids_are_strangers_like_any_other(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await forgetting.erase("ana-x")
    profiles.clock.advance(REFUSED_FOR)

    answer = await profiles.observe(a_shared_record())

    assert not answer.erased_events
    assert await profiles.count(profile="ana-x") == 2


async def test_an_answered_record_is_repeated_without_the_person_and_to_no_effect_on_others(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    """The reply was lost, and before the caller asks again somebody in the record is erased."""
    first = await profiles.observe(a_shared_record(), wanted=ORDERS)
    await forgetting.erase("ana-x")

    again = await profiles.observe(a_shared_record(), wanted=ORDERS)

    assert list(again.erased_events) == [0, 2]
    assert sorted(again.event_standings) == [1]
    bens = first.standings[first.event_standings[1]]
    assert again.standings[again.event_standings[1]] == bens
    assert await profiles.count(profile="ben") == 1
    assert await profiles.history() == ["e2"]
    assert await traces(profiles, "ana-x") == THE_WORD


async def test_old_answers_are_looked_for_by_what_they_answer(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    """A backlog: what was received weeks ago was answered today."""
    old = profiles.clock.now() - timedelta(weeks=3)
    event = an_event(profile="ana-x")
    await profiles.observe(a_record("1", event, received=old), wanted=ORDERS)

    await forgetting.erase("ana-x")

    assert (await contents(profiles))["answers"] == []


async def test_all_ids_of_a_person_go_whichever_is_named(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await profiles.observe(
        a_record("1", an_event("e1", profile="anon-x")),
        a_record(
            "2",
            an_event("e2", profile="ana-x"),
            an_event("e3", profile="ana-x", kind="identify", properties={"anonymous_id": "anon-x"}),
        ),
        wanted=ORDERS,
    )

    erasure = await forgetting.erase("anon-x")

    assert counts_of(erasure)["profiles"] == 2
    assert counts_of(erasure)["history"] == 3
    assert counts_of(erasure)["merges"] == 1
    for one in ("ana-x", "anon-x"):
        assert await traces(profiles, one) == THE_WORD
        assert (await forgetting.erase(one)).name == erasure.name
    words = await profiles.fetch("SELECT profile_id FROM derived_events WHERE type = $1 ORDER BY 1",
                                 "profile_erased")  # fmt: skip
    assert [row[0] for row in words] == ["ana-x", "anon-x"]


async def test_nobody_is_united_with_the_erased(profiles: Profiles, forgetting: Forgetting) -> None:
    await forgetting.erase("anon-x")

    await profiles.observe(
        a_record(
            "1", an_event("e1", profile="ben", kind="identify", properties={"alias": "anon-x"})
        )
    )

    (row,) = await profiles.fetch("SELECT profile_id, member_ids FROM profiles")
    assert (row[0], row[1]) == ("ben", [])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("step", ["types", "read", "find_erased", "find_earlier", "recall"])
async def test_a_turn_that_is_overtaken_between_two_steps_brings_nobody_back(
    profiles: Profiles,
    forgetting: Forgetting,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    known: bool,
) -> None:
    if known:
        await profiles.observe(a_record("0", an_event("e0", profile="ana-x")))
    real = getattr(Turn, step)
    overtaken = False

    async def overtake(turn: Turn, *args: object, **kwargs: object) -> object:
        nonlocal overtaken
        found = await real(turn, *args, **kwargs)
        if not overtaken:
            overtaken = True
            await forgetting.erase("ana-x")
        return found

    monkeypatch.setattr(Turn, step, overtake)
    answer = await profiles.observe(a_shared_record(), wanted=ORDERS)

    assert list(answer.erased_events) == [0, 2]
    assert await traces(profiles, "ana-x") == THE_WORD
    assert await profiles.count(profile="ben") == 1


@pytest.mark.parametrize("known", [True, False])
async def test_an_erasure_waits_for_a_turn_that_has_written_and_takes_that_as_well(
    profiles: Profiles, forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if known:
        await profiles.observe(a_record("0", an_event("e0", profile="ana-x")))
    real, written, go_on = Turn.remember, asyncio.Event(), asyncio.Event()

    async def slow(turn: Turn, *args: object) -> None:
        await real(turn, *args)  # type: ignore[arg-type]
        written.set()
        await go_on.wait()

    monkeypatch.setattr(Turn, "remember", slow)
    async with asyncio.TaskGroup() as group:
        group.create_task(profiles.observe(a_shared_record(), wanted=ORDERS))
        await written.wait()
        erasing = group.create_task(forgetting.erase("ana-x"))
        await eventually(lambda: is_waiting(profiles))
        go_on.set()

    assert counts_of(erasing.result())["history"] == 2 + known
    assert await traces(profiles, "ana-x") == THE_WORD
    assert await profiles.history() == ["e2"]


async def is_waiting(profiles: Profiles) -> bool:
    """Say whether a transaction waits for another."""
    rows = await profiles.fetch(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    return bool(rows)


async def test_many_turns_beside_an_erasure_leave_nothing(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    for attempt in range(10):
        person = f"p{attempt}-x"

        async def write(worker: int, person: str = person, attempt: int = attempt) -> None:
            for at in range(4):
                events = [
                    an_event(f"e{attempt}.{worker}.{at}.{index}", profile=who)
                    for index, who in enumerate((person, f"other{worker}"))
                ]
                try:
                    await profiles.observe(
                        a_record(f"{attempt}.{at}", *events, partition=worker), wanted=ORDERS
                    )
                except Aborted:
                    continue

        await asyncio.gather(*(write(one) for one in range(3)), forgetting.erase(person))

        assert await traces(profiles, person) == THE_WORD


async def test_writing_an_erased_person_by_call_is_refused(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    erasure = await forgetting.erase("ana-x")
    update = profile_pb.UpdateProfileRequest(
        profile=profile_pb.Profile(name=f"{PARENT}/profiles/ana-x", email="ana@example.org"),
        allow_missing=True,
    )

    with pytest.raises(FailedPrecondition) as refused:
        await profiles.profiles.UpdateProfile(update, None)

    assert refused.value.metadata == {"erasure": erasure.name}
    assert await traces(profiles, "ana-x") == THE_WORD


def follows(*edges: tuple[str, str]) -> relation_pb.BatchPutRelationsRequest:
    request = relation_pb.BatchPutRelationsRequest(parent=PARENT)
    for one, other in edges:
        relation = request.relations.add(kind="follows", to=f"{PARENT}/profiles/{other}")
        # A keyword of Python's.
        setattr(relation, "from", f"{PARENT}/profiles/{one}")
    return request


async def test_relations_in_both_directions_go_and_do_not_come_back(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    relations = profiles.relations
    await relations.BatchPutRelations(
        follows(("ana-x", "ben"), ("eve", "ana-x"), ("eve", "ben")), None
    )

    erasure = await forgetting.erase("ana-x")
    late = await relations.BatchPutRelations(follows(("eve", "ana-x"), ("ben", "eve")), None)

    assert counts_of(erasure)["relations"] == 2
    assert (late.created_count, sorted(late.failed_relations)) == (1, [0])
    assert await traces(profiles, "ana-x") == THE_WORD


async def test_relations_beside_an_erasure_leave_nothing(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    """Nobody has a profile: there is no row that the writers could wait at."""
    relations = profiles.relations
    for attempt in range(15):
        person = f"p{attempt}-x"

        async def write(worker: int, person: str = person) -> None:
            for at in range(5):
                edges = follows((f"w{worker}-{at}", person), (person, f"w{worker}-{at}"))
                try:
                    await relations.BatchPutRelations(edges, None)
                except (FailedPrecondition, Aborted):
                    continue

        await asyncio.gather(*(write(one) for one in range(3)), forgetting.erase(person))

        assert await traces(profiles, person) == THE_WORD


async def test_unions_beside_an_erasure_leave_nothing(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    """Whoever is first: the person is erased with all ids, or nobody is united with them."""
    for attempt in range(10):
        ids = [f"p{attempt}.{one}-x" for one in "abc"]
        known = [an_event(f"u{attempt}.{one}", profile=one) for one in ids[attempt % 2 :]]
        await profiles.observe(a_record(f"u{attempt}", *known))

        async def unite(from_id: str, into: str) -> None:
            request = identity_pb.MergeProfilesRequest(into=f"{PARENT}/profiles/{into}")
            setattr(request, "from", f"{PARENT}/profiles/{from_id}")
            try:
                await profiles.identity.MergeProfiles(request, None)
            except (FailedPrecondition, Aborted):
                return

        await asyncio.gather(unite(ids[0], ids[1]), unite(ids[2], ids[1]), forgetting.erase(ids[0]))

        assert await traces(profiles, ids[0]) == THE_WORD
        await forgetting.erase(ids[1])
        await forgetting.erase(ids[2])
        for one in ids:
            assert await traces(profiles, one) == THE_WORD


async def test_late_events_that_are_bad_besides_are_not_put_aside(
    profiles: Profiles, forgetting: Forgetting
) -> None:
    await forgetting.erase("ana-x")
    behind = an_event("e1", profile="ana-x")
    behind.consistency_token = token(("acme", "ana-x"), 5)
    nonsense = an_event("e2", profile="ana-x", kind="identify", properties={"anonymous_id": 5})

    answer = await profiles.observe(a_record("1", behind, nonsense))

    assert list(answer.erased_events) == [0, 1]
    assert not answer.failed_events
