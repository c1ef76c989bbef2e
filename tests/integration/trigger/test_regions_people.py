"""Where people are follows who they are: united, parted, erased; a crash between costs nothing."""

from datetime import timedelta

import pytest

from mesh.ids import shard_of
from services.trigger.model import Identity
from tests.integration.trigger.house import NOW, PARTITIONS, House, Interrupted
from tests.integration.trigger.places import (
    AWAY,
    CAFE,
    SHOP,
    a_circle,
    a_report,
    dwells,
    enters,
    leaves,
    put,
)
from tests.integration.trigger.test_people import erased, of_partition, unite, unmerged

ANA, ANON = of_partition(0), of_partition(1, "a")


async def presences(house: House) -> dict[str, tuple[str, int]]:
    """Return under which id each report came and in how many regions it was, by person."""
    async with house.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT profile, member, (SELECT count(*) FROM jsonb_object_keys(inside)) AS count"
            " FROM presences ORDER BY profile"
        )
    return {row["profile"]: (row["member"], row["count"]) for row in rows}


def test_the_two_are_judged_in_two_partitions() -> None:
    assert shard_of("acme", ANA) % PARTITIONS != shard_of("acme", ANON) % PARTITIONS


@pytest.mark.parametrize(("first", "then"), [(ANA, ANON), (ANON, ANA)])
async def test_the_latest_report_of_all_says_where_she_is(
    house: House, first: str, then: str
) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0), "in")
    await house.append(a_report(AWAY, profile=first))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_report(SHOP, profile=then))
    await house.work()

    await unite(house, ANA, ANON)
    await house.append(a_report(SHOP, profile=ANA), a_report(SHOP, profile=ANON))
    await house.work()

    assert len(house.out) == 1
    assert {name for name, (_, count) in (await presences(house)).items() if count} == {ANA}


async def test_reports_under_two_ids_walk_one_person(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0), "in")
    await house.launch(leaves(reentry=0), "out")
    await unite(house, ANA, ANON)
    await house.work()

    await house.append(a_report(SHOP, profile=ANON))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_report(AWAY, profile=ANA))
    await house.work()

    decided = [one.campaign.rpartition("/")[2] for one in await house.decided(ANA)]
    assert sorted(decided) == ["in", "out"]


async def test_who_turns_out_to_be_elsewhere_has_not_stayed(house: House) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))
    await house.append(a_report(SHOP, id="came", profile=ANON))
    await house.work()
    house.clock.advance(minutes=5)
    await house.append(a_report(CAFE, profile=ANA))
    await house.work()

    await unite(house, ANA, ANON)
    await house.work()
    house.clock.advance(minutes=6)
    await house.work()

    assert (await house.decision("came", ANA)).gates[-1].name == "dwell"
    assert not house.out


async def test_who_was_elsewhere_before_has_stayed(house: House) -> None:
    await put(house, a_circle())
    await house.launch(dwells(minutes=10))
    await house.append(a_report(CAFE, profile=ANA))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_report(SHOP, profile=ANON))
    await house.work()

    await unite(house, ANA, ANON)
    await house.work()
    house.clock.advance(minutes=11)
    await house.work()

    assert len(house.out) == 1


async def test_parted_she_is_where_she_reported_and_the_other_nowhere(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))
    await unite(house, ANA, ANON)
    await house.append(a_report(SHOP, profile=ANON))
    await house.work()

    house.memory.profile.part(ANA, ANON)
    await house.append(*unmerged(ANA, ANON))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_report(SHOP, profile=ANON), a_report(SHOP, profile=ANA))
    await house.work()

    assert await presences(house) == {ANA: ("", 1), ANON: ("", 1)}
    assert len(house.out) == 2


async def test_of_who_is_erased_it_is_known_nowhere(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters())
    await house.append(a_report(SHOP, profile=ANA), a_report(SHOP, profile="bea"))
    await house.work()

    house.memory.profile.erase(ANA)
    await house.append(*erased(ANA))
    await house.work()

    assert set(await presences(house)) == {"bea"}
    removed = house.memory.profile.removals.items()
    [counts] = [one for (_, service), one in removed if service == "trigger"]
    assert counts["presences"] == 1


async def test_a_union_in_the_middle_of_a_turn_is_judged_again(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))
    await house.append(a_report(SHOP, profile=ANA))
    await house.work()
    house.clock.advance(minutes=1)

    async def meanwhile() -> None:
        house.memory.profile.unite(ANA, ANON)
        await house.worker.identities.set(Identity("acme", ANA, (ANA, ANON), 1))

    house.worker.turns._store = Interrupted(house, meanwhile)
    await house.append(a_report(SHOP, profile=ANON))
    await house.work()

    assert len(house.out) == 1
    assert await presences(house) == {ANA: (ANON, 1)}


async def test_a_replayed_report_of_the_past_moves_nobody(house: House) -> None:
    await put(house, a_circle())
    await house.launch(enters(reentry=0))
    await house.append(a_report(SHOP, id="one", when=NOW))
    await house.work()
    await house.append(a_report(AWAY, when=NOW + timedelta(seconds=1)))
    house.clock.advance(minutes=1)
    await house.work()
    house.memory.profile.forget("one")

    await house.append(a_report(SHOP, id="one", when=NOW))
    await house.work()

    assert len(house.out) == 1
