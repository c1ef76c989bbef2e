"""Makes sure that passages follow the people: united, parted, erased, in whatever order it is heard.

Profile unites at once; the log tells a moment later. Workers die between any two steps, and what
the log tells comes again.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import msgspec
import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1.campaign_service_pb2 import Recipient
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.errors import MeshError
from mesh.ids import shard_of
from services.trigger.store import EnrollmentStore
from tests.integration.trigger.house import PARTITIONS, House, Interrupted, a_campaign, an_event

BOUGHT = {"order_placed": ""}
SAME_ORDER = {"order_placed": "event.properties.order == trigger.properties.order"}
WAITING, SENT = Decision.STATE_WAITING, Decision.STATE_SENT
EXITED, REFUSED = Decision.STATE_EXITED, Decision.STATE_REFUSED


def of_partition(partition: int, start: str = "p") -> str:
    """Return a profile id of a partition."""
    return next(
        name
        for name in (f"{start}{number}" for number in range(100))
        if shard_of("acme", name) % PARTITIONS == partition
    )


def merged(root: str, *others: str, version: int = 1) -> Event:
    """Return what the log tells when profile has united ids."""
    return an_event(
        "profile_merged",
        id=f"merged-{root}-{version}",
        profile=root,
        merge="m",
        into=root,
        member_ids=sorted([root, *others]),
        moved_ids=list(others),
        version=version,
    )


def unmerged(*people: str, version: int = 2) -> list[Event]:
    """Return what the log tells when profile has parted ids, each on its own."""
    return [
        an_event(
            "profile_unmerged",
            id=f"unmerged-{one}-{version}",
            profile=one,
            merge="m",
            member_ids=[one],
            version=version,
        )
        for one in people
    ]


def erased(*ids: str) -> list[Event]:
    """Return what the log tells when profile has erased a person with these ids."""
    return [
        an_event(
            "profile_erased",
            id=f"erased-{one}",
            profile=one,
            erasure=str(UUID(int=7)),
            profile_ids=list(ids),
        )
        for one in ids
    ]


async def states(house: House, profile: str = "ana") -> dict[str, int]:
    """Return what became of each event, by its id."""
    return {one.event_id: one.state for one in await house.decided(profile)}


async def turn_of(house: House, partition: int) -> int:
    """Return how many commits have judged the people of a partition."""
    async with house.database.connection() as connection:
        turn: int = await connection.fetchval(
            "SELECT turn FROM log_positions WHERE partition = $1", partition
        )
    return turn


async def unite(house: House, root: str, *others: str, version: int = 1) -> None:
    """Unite ids in profile, and let the log tell."""
    house.memory.profile.unite(root, *others)
    await house.append(merged(root, *others, version=version))


async def test_a_cart_left_anonymously_and_bought_under_her_name_brings_no_mail(
    house: House,
) -> None:
    await house.launch(a_campaign(delay=1800, exceptions=BOUGHT))
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.clock.advance(seconds=60)
    await house.append(an_event("order_placed", id="order", profile="ana"))
    await house.work()
    house.clock.advance(seconds=60)

    await unite(house, "ana", "a1")
    await house.work()

    decision = await house.decision("cart")
    house.clock.advance(seconds=1800)
    await house.work()
    assert decision.state == EXITED
    assert decision.gates[-1].detail == "order_placed order occurred"
    assert house.out == []


async def test_an_exception_that_only_its_event_can_tell_stops_it_too(house: House) -> None:
    await house.launch(a_campaign(delay=1800, exceptions=SAME_ORDER, reentry=0))
    await house.append(
        an_event(id="one", profile="a1", order=1), an_event(id="two", profile="a1", order=2)
    )
    await house.append(an_event("order_placed", profile="ana", order=2))
    await house.work()

    await unite(house, "ana", "a1")
    await house.work()

    assert await states(house) == {"one": WAITING, "two": EXITED}


async def test_what_one_id_entered_the_other_may_not_enter_again(house: House) -> None:
    await house.launch(a_campaign(delay=1800))
    await house.append(an_event(id="first", profile="a1"))
    await house.work()
    house.clock.advance(seconds=60)
    await house.append(an_event(id="second"))
    await house.work()

    await unite(house, "ana", "a1")
    await house.work()

    [second, first] = sorted(await house.decided(), key=lambda one: one.event_id, reverse=True)
    assert (first.event_id, first.state) == ("first", WAITING)
    assert (second.event_id, second.state) == ("second", REFUSED)
    assert second.gates[-1].detail.startswith("united with a1: once only; entered at")


async def test_the_later_cart_of_another_id_restarts_the_delay(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions={"cart_filled": ""}))
    await house.append(an_event(id="first", profile="a1"))
    await house.work()
    house.clock.advance(seconds=300)
    await house.append(an_event(id="second"))
    await house.work()

    await unite(house, "ana", "a1")
    house.clock.advance(seconds=301)
    await house.work()
    early = list(house.out)
    house.clock.advance(seconds=300)
    await house.work()

    assert early == []
    assert len(house.out) == 1
    assert await states(house) == {"first": EXITED, "second": SENT}


async def test_her_message_goes_out_once_and_under_her_name(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    house.memory.profile.profiles["workspaces/acme/profiles/ana"].traits = {"orders": 3}
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    await unite(house, "ana", "a1")
    await house.work()

    house.clock.advance(seconds=600)
    await house.work()

    [created] = house.out
    data = msgspec.json.decode(created.data_json)
    assert created.profile == "workspaces/acme/profiles/ana"
    assert (data["profile"]["id"], data["profile"]["traits"]) == ("ana", {"orders": 3})


@pytest.mark.parametrize("times", [2, 3])
async def test_what_is_told_again_changes_nothing(house: House, times: int) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.memory.profile.unite("ana", "a1")
    for number in range(times):
        event = merged("ana", "a1")
        event.event_id = f"again-{number}"
        await house.append(event)
        await house.work()

    house.clock.advance(seconds=600)
    await house.work()

    assert await states(house) == {"cart": SENT}
    assert len(house.out) == 1


async def test_events_of_two_ids_in_one_turn_are_one_persons(house: House) -> None:
    await house.launch(a_campaign(reentry=None))
    house.memory.profile.unite("ana", "a1")

    await house.append(an_event(id="one", profile="a1"), an_event(id="two", profile="ana"))
    await house.work()

    assert sorted((await states(house)).values()) == [REFUSED, SENT]
    assert await states(house, "a1") == await states(house)
    assert len(house.out) == 1


async def test_who_is_united_in_profile_is_one_before_the_log_has_told(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.memory.profile.unite("ana", "a1")

    await house.append(an_event("order_placed", profile="ana"))
    await house.work()

    assert await states(house) == {"cart": EXITED}
    assert house.memory.throttle.identities == {}


async def test_a_timer_does_not_fire_before_the_log_has_told(house: House) -> None:
    await house.launch(a_campaign(delay=600, exceptions=SAME_ORDER))
    await house.append(an_event(id="cart", profile="a1", order=1))
    await house.append(an_event("order_placed", profile="ana", order=1))
    await house.work()
    house.memory.profile.unite("ana", "a1")
    house.clock.advance(seconds=601)

    await house.work()
    held = await states(house, "a1")
    await house.append(merged("ana", "a1"))
    await house.work()

    assert held == {"cart": WAITING}
    assert await states(house) == {"cart": EXITED}
    assert house.out == []


async def test_a_timer_waits_a_minute_for_the_log_and_no_longer(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.memory.profile.unite("ana", "a1")
    house.clock.advance(seconds=601)
    await house.work()
    held = list(house.out)

    house.clock.advance(seconds=60)
    await house.work()
    await house.work()

    assert held == []
    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/ana"]
    assert await states(house) == {"cart": SENT}


async def test_who_cannot_be_united_holds_up_nobody_else(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.memory.profile.unite("ana", "a1")
    house.clock.advance(seconds=600)
    await house.work()
    identities: Any = house.worker.identities
    overrule = identities.overrule

    async def broken(_: object) -> None:
        message = "planned: a bug"
        raise ValueError(message)

    identities.overrule = broken
    await house.append(an_event(id="bobs", profile="bob"))
    await house.work()
    house.clock.advance(seconds=600)
    await house.work()
    told = [await states(house, one) for one in ("bob", "a1")]
    identities.overrule = overrule
    house.clock.advance(seconds=60)
    await house.work()
    await house.work()

    assert told == [{"bobs": SENT}, {"cart": WAITING}]
    assert await states(house) == {"cart": SENT}


async def test_who_is_held_back_does_not_hold_others(house: House) -> None:
    worker = house.another_worker("small", timer_batch=2)
    worker.partitions._positions = house.worker.partitions.positions()
    await house.launch(a_campaign(delay=600, reentry=0))
    await house.append(*(an_event(profile="a1") for _ in range(5)))
    await house.work(worker)
    house.clock.advance(seconds=1)
    await house.append(an_event(profile="bob"))
    await house.work(worker)
    house.memory.profile.unite("ana", "a1")
    house.clock.advance(seconds=601)

    for _ in range(4):
        await worker.timers.run_once()
    await worker.relay.drain(house.stopping)

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/bob"]


async def test_parted_people_get_back_what_they_began(house: House) -> None:
    await house.launch(a_campaign(delay=600, reentry=0))
    await unite(house, "ana", "a1")
    await house.append(an_event(id="hers"), an_event(id="theirs", profile="a1"))
    await house.append(
        an_event(id="refused", profile="a1", at=house.clock.now() - timedelta(days=1))
    )
    await house.work()
    together = await states(house)

    house.memory.profile.part("ana", "a1")
    await house.append(*unmerged("ana", "a1"))
    await house.work()
    house.clock.advance(seconds=600)
    await house.work()

    assert together == {"hers": WAITING, "theirs": WAITING, "refused": REFUSED}
    assert await states(house) == {"hers": SENT}
    assert await states(house, "a1") == {"theirs": SENT, "refused": REFUSED}


async def test_an_older_union_does_not_undo_a_parting(house: House) -> None:
    """Each is told in the partition of its person: nobody knows which comes first."""
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="cart", profile="a1"))
    await house.append(*unmerged("ana", "a1", version=2))
    await house.work()

    await house.append(merged("ana", "a1", version=1))
    await house.work()

    assert await states(house, "a1") == {"cart": WAITING}
    assert await states(house) == {}


async def test_a_chain_of_unions_ends_with_the_last(house: House) -> None:
    await house.launch(a_campaign(delay=600, reentry=0))
    await house.append(*(an_event(id=f"of-{one}", profile=one) for one in ("a1", "ana", "bob")))
    await house.work()
    house.memory.profile.unite("ana", "a1")
    house.memory.profile.unite("bob", "ana", "a1")

    await house.append(merged("bob", "a1", "ana", version=2))
    await house.append(merged("ana", "a1", version=1))
    await house.work()

    assert await states(house, "bob") == dict.fromkeys(("of-a1", "of-ana", "of-bob"), WAITING)
    assert house.memory.throttle.identities["workspaces/acme/profiles/bob"] == (
        2,
        ("a1", "ana", "bob"),
    )


@pytest.mark.parametrize("then", ["parted", "erased"])
async def test_what_was_begun_before_the_log_told_is_found_wherever_it_is_kept(
    house: House, then: str
) -> None:
    await house.launch(a_campaign(delay=600, reentry=0))
    house.memory.profile.unite("ana", "a1")
    await house.append(an_event(id="cart", profile="a1"))
    await house.work()
    house.memory.profile.part("ana", "a1")

    # What other partitions have to tell comes later, if at all.
    await house.append(*(erased("a1") if then == "erased" else unmerged("a1")))
    await house.work()
    await house.append(merged("ana", "a1"))
    await house.work()
    house.clock.advance(seconds=600)
    await house.work()

    assert await states(house) == {}
    assert await states(house, "a1") == ({} if then == "erased" else {"cart": SENT})


async def test_a_recipient_is_the_person_by_whatever_id_she_is_named(house: House) -> None:
    recipient = Recipient(event_property="owner")
    await house.launch(a_campaign(recipient=recipient))
    house.memory.profile.unite("ana", "a1")

    await house.append(
        an_event(id="by-alias", profile="bob", owner="a1"),
        an_event(id="by-name", profile="eve", owner="ana"),
    )
    await house.append(an_event(id="herself", profile="ana", owner="a1"))
    await house.work()

    decided = {one.event_id: one for one in await house.decided()}
    assert sorted(decided[one].state for one in ("by-alias", "by-name")) == [REFUSED, SENT]
    assert decided["herself"].gates[-1].name == "recipient"
    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/ana"]


async def test_a_send_on_its_way_when_people_are_united_is_not_repeated(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="cart", profile="a1"))
    await house.judge()
    gate = house.memory.faults.hold("BatchCreateDeliveries")
    relaying = asyncio.gather(house.worker.relay.drain(house.stopping))
    await asyncio.sleep(0)
    await unite(house, "ana", "a1")
    await house.judge()
    gate.set()
    house.memory.faults.clear()
    await relaying

    successor = await house.succeed()
    await successor.relay.claim()
    await house.work(successor)

    assert len(house.out) == 1
    assert await states(house) == {"cart": SENT}


@pytest.mark.parametrize("method", ["BatchFindEvents", "BatchGetStandings", "SetIdentities"])
@pytest.mark.parametrize("fault", ["refuse", "lose_reply"])
async def test_a_crash_in_the_middle_of_a_union_leaves_it_to_another(
    house: House, method: str, fault: str
) -> None:
    await house.launch(a_campaign(delay=1800, exceptions=BOUGHT))
    await house.append(an_event(id="cart", profile="a1"))
    await house.append(an_event("order_placed", profile="ana"))
    await house.work()
    await unite(house, "ana", "a1")
    getattr(house.memory.faults, fault)(method, times=20, code=grpc.StatusCode.INTERNAL)
    with suppress(MeshError):
        await house.work()
    house.memory.faults.clear()

    successor = await house.succeed()
    await house.work(successor)

    assert await states(house) == {"cart": EXITED}
    assert house.memory.throttle.identities == {"workspaces/acme/profiles/ana": (1, ("a1", "ana"))}


@pytest.mark.parametrize("die", ["before", "after"])
async def test_a_crash_around_the_commit_of_the_turn_repeats_the_union(
    house: House, die: str
) -> None:
    await house.launch(a_campaign(delay=1800))
    await house.append(an_event(id="cart", profile="a1"), an_event(id="other", profile="ana"))
    await house.work()
    await unite(house, "ana", "a1")
    store: Any = house.worker.turns._store
    commit = store.commit

    async def dying(*args: Any, **options: Any) -> None:
        if die == "after":
            await commit(*args, **options)
        raise KeyboardInterrupt

    store.commit = dying
    with pytest.raises(KeyboardInterrupt):
        await house.judge()

    successor = await house.succeed()
    await house.work(successor)

    assert sorted((await states(house)).values()) == [REFUSED, WAITING]
    assert len(house.memory.throttle.identities) == 1


async def test_a_union_that_is_told_again_makes_nobody_judge_again(house: House) -> None:
    """Else two lanes that are told much of the same people would fail each other for ever."""
    a1, ana = of_partition(0), of_partition(1)
    await house.launch(a_campaign(delay=600))
    await unite(house, ana, a1)
    await house.work()
    before = await turn_of(house, 0)

    again = merged(ana, a1)
    again.event_id = "again"
    await house.append(again)
    await house.work()

    assert await turn_of(house, 0) == before


async def test_who_was_united_in_somebody_that_has_gone_on_alone_is_judged(house: House) -> None:
    """The log has told where ana went, and not yet that a1 had been parted from her before."""
    await house.launch(a_campaign(delay=600))
    await unite(house, "ana", "a1", version=1)
    await house.append(an_event(id="first", profile="a1"))
    await house.work()
    house.memory.profile.part("a1")
    await unite(house, "eve", "ana", version=3)
    await house.work()

    await house.append(an_event(id="second", profile="a1"))
    await house.work()
    await house.append(*unmerged("a1", version=2))
    await house.work()

    assert await states(house, "a1") == {"first": WAITING, "second": REFUSED}


async def test_two_workers_cannot_let_one_person_enter_twice(house: House) -> None:
    a1, ana = of_partition(0), of_partition(1)
    await house.launch(a_campaign())
    house.memory.profile.unite(ana, a1)
    other = house.another_worker("two")
    other.partitions._positions = house.worker.partitions.positions([0])
    await house.append(an_event(id="hers", profile=ana))

    async def enter() -> None:
        await house.append(an_event(id="other", profile=a1))
        await house.judge(other)

    house.worker.turns._store = Interrupted(house, enter)
    await house.judge()
    await house.worker.relay.drain(house.stopping)
    await other.relay.drain(house.stopping)

    assert len(house.out) == 1
    assert sorted((await states(house, ana)).values()) == [REFUSED, SENT]


async def test_a_worker_that_knows_less_does_not_begin_what_is_begun(house: House) -> None:
    """It asked how somebody stands before she was united, and commits after."""
    a1, ana = of_partition(0), of_partition(1)
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="hers", profile=ana))
    await house.work()
    other = house.another_worker("two")
    other.partitions._positions = house.worker.partitions.positions([1])
    house.worker.partitions._positions = house.worker.partitions.positions([0])
    await house.append(an_event(id="late", profile=a1))

    async def be_united() -> None:
        await unite(house, ana, a1)
        await house.judge(other)

    house.worker.turns._store = Interrupted(house, be_united)
    await house.judge()

    assert await states(house, ana) == {"hers": WAITING, "late": REFUSED}


@pytest.mark.parametrize("exceptions", [BOUGHT, SAME_ORDER])
@pytest.mark.parametrize("first", ["cart", "order"])
async def test_two_workers_lose_no_exception_of_one_person(
    house: House, exceptions: dict[str, str], first: str
) -> None:
    """Whichever commits first, in whatever order they looked."""
    a1, ana = of_partition(0), of_partition(1)
    await house.launch(a_campaign(delay=600, exceptions=exceptions))
    house.memory.profile.unite(ana, a1)
    cart = an_event(id="cart", profile=a1, order=1)
    order = an_event(
        "order_placed", profile=ana, order=1, at=house.clock.now() + timedelta(seconds=1)
    )
    mine, others = (order, cart) if first == "cart" else (cart, order)
    other = house.another_worker("two")
    partition = shard_of("acme", others.profile.rpartition("/")[2]) % PARTITIONS
    other.partitions._positions = house.worker.partitions.positions([partition])
    await house.append(mine)

    async def meanwhile() -> None:
        await house.append(others)
        await house.judge(other)

    house.worker.turns._store = Interrupted(house, meanwhile)
    await house.judge()
    house.clock.advance(seconds=700)
    await house.work()

    # Where it was known when the cart came, nothing has begun.
    [decision] = await house.decided(ana)
    assert decision.state in (EXITED, REFUSED)
    assert decision.gates[-1].name == "exception"
    assert house.out == []


async def test_a_timer_waits_for_what_other_ids_did_in_other_partitions(house: House) -> None:
    from mesh.clock import SystemClock

    house.clock.time = SystemClock().now() + timedelta(days=1)
    a1, ana = of_partition(0), of_partition(1)
    await house.launch(a_campaign(delay=600, exceptions=BOUGHT))
    await unite(house, ana, a1)
    await house.append(an_event(id="cart", profile=ana))
    await house.work()
    other = house.another_worker("behind")
    other.partitions._positions = house.worker.partitions.positions([0])
    await house.append(an_event("order_placed", profile=a1, at=house.clock.now()))
    house.worker.partitions._positions = house.worker.partitions.positions([1])
    house.clock.advance(seconds=601)

    early = await house.worker.timers.run_once()
    await house.judge(other)
    await house.work()

    assert early == 0
    assert await states(house, ana) == {"cart": EXITED}


async def test_a_forgotten_person_leaves_nothing_behind(house: House) -> None:
    await house.launch(a_campaign(delay=600, reentry=0))
    await house.append(
        an_event(id="hers"),
        an_event(id="theirs", profile="a1"),
        an_event(id="bad", unkeepable=True),
        an_event(id="bobs", profile="bob"),
    )
    await house.append(an_event(id="late", at=house.clock.now() - timedelta(days=1)))
    await unite(house, "ana", "a1")
    await house.work()
    house.memory.profile.erase("ana", "a1")

    await house.append(*erased("ana", "a1"), an_event(id="after"))
    await house.work()
    house.clock.advance(seconds=600)
    await house.work()

    assert await states(house) == {}
    assert await states(house, "bob") == {"bobs": SENT}
    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/bob"]
    receipt = f"workspaces/acme/erasures/{UUID(int=7)}"
    removals = house.memory.profile.removals
    assert removals[receipt, "trigger"] == {
        "enrollments": 2,
        "decisions": 1,
        "entries": 0,
        "assignments": 0,
        "broadcasts": 0,
        "digest_items": 0,
        "presences": 0,
        "quarantined_events": 1,
        "enrollments_of_others": 0,
    }
    assert removals[receipt, "throttle"] == {"subscriptions": 2}
    assert removals[receipt, "delivery"] == {"deliveries": 0}
    names = {f"workspaces/acme/profiles/{one}" for one in ("ana", "a1")}
    assert house.memory.throttle.erased == house.memory.delivery.erased == names
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM identities") == 0
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0
        assert await connection.fetchval("SELECT count(*) FROM notices") == 0


async def test_what_came_before_an_erasure_in_the_same_turn_is_gone_with_it(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(
        an_event(id="cart"),
        an_event(id="bad", unkeepable=True),
        an_event(id="bobs", profile="bob"),
        *erased("ana"),
    )

    await house.work()

    assert await states(house) == {}
    assert await states(house, "bob") == {"bobs": SENT}
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0


@pytest.mark.parametrize(
    ("delay", "then"),
    [(600, EXITED), (0, EXITED), (None, SENT)],
    ids=["waits", "on its way", "out"],
)
async def test_what_she_began_for_others_goes_out_no_more_and_says_nothing_of_her(
    house: House, delay: float | None, then: int
) -> None:
    recipient = Recipient(event_property="owner")
    await house.launch(a_campaign(recipient=recipient, delay=delay or 0, reentry=0))
    await unite(house, "ana", "a1")
    await house.append(
        an_event(id="hers", profile="a1", owner="bob", secret="of hers"),
        an_event(id="eves", profile="eve", owner="bob"),
    )
    await house.work()
    if delay is None:
        house.memory.delivery.handed |= set(house.memory.delivery.created)
        house.clock.advance(days=5)
    house.memory.profile.erase("ana", "a1")

    await house.append(*erased("ana", "a1"))
    await house.work()
    house.clock.advance(seconds=600)
    while await house.worker.relay.claim():
        await house.work()
    await house.work()

    assert await states(house, "bob") == {"hers": then, "eves": SENT}
    went_out = [msgspec.json.decode(one.data_json)["event"]["id"] for one in house.out]
    assert sorted(went_out) == (["eves", "hers"] if delay is None else ["eves"])
    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT actor, properties FROM enrollments ORDER BY 1")
    assert [(row["actor"], b"secret" in row["properties"]) for row in rows] == [
        ("", False),
        ("eve", False),
    ]
    removals = house.memory.profile.removals
    receipt = f"workspaces/acme/erasures/{UUID(int=7)}"
    assert removals[receipt, "trigger"]["enrollments_of_others"] == 1


async def test_an_erasure_that_could_not_be_told_is_told_out_of_quarantine(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="cart"))
    await house.work()
    identities: Any = house.worker.identities
    follow = identities.follow

    async def broken(_: object) -> None:
        message = "planned: a bug"
        raise ValueError(message)

    identities.follow = broken
    await house.append(*erased("ana"))
    await house.judge()
    identities.follow = follow
    async with house.database.connection() as connection:
        await connection.execute("UPDATE quarantine SET replay_time = now()")

    await house.worker.replays.run_once()

    assert await states(house) == {}


async def test_what_an_erased_person_does_is_not_even_quarantined(house: House) -> None:
    await house.launch(a_campaign())
    house.memory.profile.erase("ana")

    await house.append(an_event(id="e"), an_event("page_viewed"))
    await house.work()

    assert await house.decided() == []
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_a_send_that_is_held_for_an_erased_person_does_not_go_out(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.judge()
    house.memory.profile.erase("ana")

    await house.append(*erased("ana"))
    await house.work()

    first = dict(house.memory.delivery.created)
    told = set(house.memory.delivery.erased)
    house.clock.advance(seconds=60)
    await house.work()
    assert (first, house.worker.relay.owed) == ({}, 0)
    assert told == set()
    assert house.memory.delivery.erased == {"workspaces/acme/profiles/ana"}


@pytest.mark.parametrize(
    "method", ["throttle.ErasePeople", "delivery.ErasePeople", "RecordErasure"]
)
@pytest.mark.parametrize("fault", ["refuse", "lose_reply"])
async def test_others_are_told_until_they_have_heard(house: House, method: str, fault: str) -> None:
    await unite(house, "ana", "a1")
    await house.append(*erased("ana", "a1"))
    getattr(house.memory.faults, fault)(method, times=3, code=grpc.StatusCode.INTERNAL)
    await house.work()

    for _ in range(8):
        house.clock.advance(seconds=10)
        await house.work()

    receipt = f"workspaces/acme/erasures/{UUID(int=7)}"
    removals = house.memory.profile.removals
    services = {service for name, service in removals if name == receipt}
    assert services == {"trigger", "throttle", "delivery"}
    assert removals[receipt, "throttle"] == {"subscriptions": 2}
    assert house.memory.throttle.removed == {receipt: 2}
    # Who she was is not told after she was erased.
    assert house.memory.throttle.identities == {}
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM notices") == 0


async def test_a_worker_that_dies_with_notices_leaves_them_to_another(house: House) -> None:
    await unite(house, "ana", "a1")
    await house.judge()
    gate = house.memory.faults.hold("SetIdentities")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await house.worker.notices.run_once()
    gate.set()
    house.memory.faults.clear()

    successor = await house.succeed()
    house.clock.advance(seconds=60)
    await house.work(successor)

    assert len(house.memory.throttle.identities) == 1


async def test_what_says_nothing_of_people_is_quarantined(house: House) -> None:
    await house.append(an_event("profile_merged", id="empty"), an_event("page_viewed"))
    await house.work()

    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT event_id FROM quarantine")
    assert [row["event_id"] for row in rows] == ["empty"]


async def test_entries_that_are_not_kept_any_more_follow_too(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="old", profile="a1"))
    await house.work()
    house.clock.advance(days=100)
    store = EnrollmentStore(house.database, partitions=PARTITIONS)
    await store.forget(house.clock.now() - timedelta(days=90), limit=100)
    await unite(house, "ana", "a1")
    await house.work()

    await house.append(an_event(id="again"))
    await house.work()
    house.memory.profile.part("ana", "a1")
    await house.append(*unmerged("ana", "a1"))
    await house.append(an_event(id="alone"), an_event(id="a1-again", profile="a1"))
    await house.work()

    assert await states(house) == {"again": REFUSED, "alone": SENT}
    assert await states(house, "a1") == {"a1-again": REFUSED}
