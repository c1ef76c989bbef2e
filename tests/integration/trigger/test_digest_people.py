"""Makes sure that digests follow the people: united, parted, erased, nothing is lost or told twice."""

from beckon.trigger.v1.decision_service_pb2 import Decision

from tests.integration.trigger.digests import a_like, all_told, an_unlike, ids, likes, told
from tests.integration.trigger.house import House
from tests.integration.trigger.test_people import erased, unite, unmerged


async def test_windows_of_people_who_are_united_become_one(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()
    house.clock.advance(minutes=2)
    await house.append(a_like("bob", owner="anon", id="b"), a_like("eve", owner="anon", id="c"))
    await house.work()

    await unite(house, "ana", "anon")
    await house.work()
    house.clock.advance(minutes=8)
    await house.work()
    first = [sorted(ids(one)) for one in house.out]
    house.clock.advance(minutes=2)
    await house.work()

    assert first == [["a", "b", "c"]]
    assert len(house.out) == 1


async def test_the_same_event_told_to_two_ids_of_one_person_counts_once(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a", owner=["ana", "anon"]))
    await house.work()

    await unite(house, "ana", "anon")
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert [ids(one) for one in house.out] == [["a"]]


async def test_parted_people_are_told_what_was_meant_for_each(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.append(a_like("bob", owner="anon", id="b"))
    await house.work()
    await unite(house, "ana", "anon")
    await house.work()
    await house.append(a_like("eve", owner="anon", id="c"))
    await house.work()

    house.memory.profile.part("ana", "anon")
    await house.append(*unmerged("ana", "anon"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    by_person = {one.profile.rpartition("/")[2]: sorted(ids(one)) for one in house.out}
    assert by_person == {"ana": ["a"], "anon": ["b", "c"]}
    assert len(house.out) == 2


async def test_who_likes_by_two_ids_is_one_of_those_who_do(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"), a_like("anon", id="b"))
    await house.work()
    await unite(house, "bob", "anon")
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    [group] = told(house.out[0])["groups"]
    assert (group["count"], group["actor_count"], group["other_count"]) == (2, 1, 0)


async def test_what_somebody_erased_did_leaves_the_digests_of_others(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a", note="secret"))
    await house.append(a_like("eve", id="b"))
    await house.append(an_unlike("bob", "p9"))
    await house.work()

    house.memory.profile.erase("bob")
    await house.append(*erased("bob"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert await all_told(house) == ["b"]
    assert b"secret" not in house.out[0].data_json
    async with house.database.connection() as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM digest_items WHERE actor = 'bob' OR event_profile = 'bob'"
        )
        undos = await connection.fetchval("SELECT count(*) FROM digest_undos")
    assert (left, undos) == (0, 0)


async def test_a_digest_of_nobody_but_the_erased_sends_nothing(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()

    house.memory.profile.erase("bob")
    await house.append(*erased("bob"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert house.out == []
    [decision] = await house.decided()
    assert (decision.state, decision.gates[-1].name) == (Decision.STATE_EXITED, "digest")


async def test_who_is_erased_is_told_nothing_and_nothing_is_kept(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()

    house.memory.profile.erase("ana")
    await house.append(*erased("ana"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert house.out == []
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM digest_items") == 0
    assert await house.decided() == []
