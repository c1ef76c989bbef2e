"""Makes sure that what cannot be observed or judged is set aside, listed and tried again."""

from datetime import timedelta

import grpc
import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.trigger.v1 import quarantine_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.errors import InvalidArgument, NotFound
from services.trigger.model import Seen
from services.trigger.worker.batch import read_record
from services.trigger.worker.catalogue import Catalogue
from tests.integration.trigger.house import House, Interrupted, a_campaign, an_event

ACME = "workspaces/acme"


async def listed(house: House, parent: str = ACME) -> list[pb.QuarantinedEvent]:
    response = await house.quarantine.ListQuarantinedEvents(
        pb.ListQuarantinedEventsRequest(parent=parent), None
    )
    return list(response.quarantined_events)


async def mark(house: House) -> int:
    names = [one.name for one in await listed(house)]
    response = await house.quarantine.ReplayQuarantinedEvents(
        pb.ReplayQuarantinedEventsRequest(parent=ACME, names=names), None
    )
    return response.marked_count


async def replay(house: House) -> int:
    marked = await mark(house)
    await house.worker.replays.run_once()
    await house.work()
    return marked


def broken(event_id: str) -> Event:
    """Return an event whose properties are no JSON, which no door lets in."""
    return Event(
        event_id=event_id,
        type="cart_filled",
        profile=f"{ACME}/profiles/ana",
        properties_json=b"{",
    )


async def test_a_record_that_cannot_be_read_does_not_keep_those_behind_it(house: House) -> None:
    await house.launch(a_campaign())
    await house.log.append([(0, b"\x0a\x04acme\xff\xff\xff"), (0, b"\xff")])
    await house.append(an_event(id="e"))

    await house.work()

    [found] = await listed(house)
    assert "cannot be read" in found.error.message
    assert found.event_id == ""
    assert len(house.out) == 1


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x04ACME\xff", b"\x0a\x3fac\xff", b"\x0a"])
async def test_a_record_that_does_not_tell_its_workspace_can_be_listed_all_the_same(
    house: House, payload: bytes
) -> None:
    await house.log.append([(0, payload)])

    await house.work()

    [found] = await listed(house, "workspaces/unreadable")
    assert found.name.startswith("workspaces/unreadable/quarantinedEvents/")


async def test_an_event_that_profile_refuses_is_set_aside_with_its_reason(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event(id="bad", unkeepable=1), an_event(id="good"))

    await house.work()

    [found] = await listed(house)
    assert (found.event_id, found.type, found.profile) == (
        "bad",
        "cart_filled",
        f"{ACME}/profiles/ana",
    )
    assert found.error.message == "planned"
    assert len(house.out) == 1


async def test_a_refused_event_that_is_mended_comes_round_again(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e", unkeepable=1))
    await house.work()
    still_bad = await replay(house)
    [again] = await listed(house)
    house.memory.profile.keep_all = True

    await replay(house)

    assert still_bad == 1
    assert not again.HasField("replay_time")
    assert await listed(house) == []
    assert (await house.decision("e")).state == Decision.STATE_SENT


async def test_an_event_that_cannot_be_judged_does_not_keep_its_neighbours(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event(id="one"), broken("bad"), an_event(id="two"))

    await house.work()

    [found] = await listed(house)
    assert found.event_id == "bad"
    assert "errorId" in str(found.error)
    assert len(house.out) == 2


async def test_an_observed_event_is_judged_again_without_a_second_observation(
    house: House,
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    judging = house.worker.catalogues
    await judging.reload()
    good = judging.current
    judging.current = _broken_catalogue(good)
    await house.work()
    [found] = await listed(house)
    judging.current = good

    await replay(house)

    assert found.event_id == "e"
    assert await listed(house) == []
    assert (await house.decision("e")).state == Decision.STATE_SENT
    assert len(house.memory.profile.history[f"{ACME}/profiles/ana"]) == 1


@pytest.mark.parametrize("first", ["live", "replayed"])
async def test_a_replay_and_a_turn_over_one_person_have_the_effects_of_one_after_the_other(
    house: House, first: str
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="old"))
    one, other = house.worker, house.another_worker("two")
    await one.catalogues.reload()
    good = one.catalogues.current
    one.catalogues.current = _broken_catalogue(good)
    await house.work()
    one.catalogues.current = good
    other.partitions._positions = one.partitions.positions()
    await mark(house)
    await house.append(an_event(id="new"))

    if first == "live":
        one.turns._store = Interrupted(house, lambda: house.judge(other))
        await one.replays.run_once()
    else:
        one.turns._store = Interrupted(house, other.replays.run_once)
        await house.judge(one)
    await one.relay.drain(house.stopping)
    await other.relay.drain(house.stopping)

    assert len(house.out) == 1
    states = {decision.event_id: decision.state for decision in await house.decided()}
    assert sorted(states) == ["new", "old"]
    assert set(states.values()) == {Decision.STATE_SENT, Decision.STATE_REFUSED}
    assert await listed(house) == []


async def test_an_event_of_the_year_9999_takes_nothing_down(house: House) -> None:
    await house.launch(a_campaign(delay=34560000, reentry=0))
    event = an_event(id="far")
    event.occur_time.seconds = 253402300799
    beyond = an_event(id="beyond")
    beyond.occur_time.seconds = 2**60
    await house.append(event, beyond, an_event(id="e"))

    await house.work()

    assert {one.event_id for one in await listed(house)} == {"far", "beyond"}
    assert (await house.decision("e")).state == Decision.STATE_WAITING


async def test_the_quarantine_comes_in_pages_oldest_first(house: House) -> None:
    await house.launch(a_campaign())
    for number in range(5):
        await house.append(an_event(id=f"bad-{number}", unkeepable=1))
        await house.work()
        house.clock.advance(seconds=1)
    seen: list[str] = []
    request = pb.ListQuarantinedEventsRequest(parent=ACME, page_size=2)
    while True:
        page = await house.quarantine.ListQuarantinedEvents(request, None)
        seen += [one.event_id for one in page.quarantined_events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == [f"bad-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (f"{ACME}/quarantinedEvents/6e1c4a52-0d0b-5c4e-9c53-6a2f0a1f7be1", NotFound),
        (f"{ACME}/quarantinedEvents/x", InvalidArgument),
        (
            "workspaces/other/quarantinedEvents/6e1c4a52-0d0b-5c4e-9c53-6a2f0a1f7be1",
            InvalidArgument,
        ),
    ],
)
async def test_one_unknown_name_marks_none(house: House, name: str, error: type[Exception]) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(unkeepable=1))
    await house.work()
    [known] = await listed(house)

    with pytest.raises(error):
        await house.quarantine.ReplayQuarantinedEvents(
            pb.ReplayQuarantinedEventsRequest(parent=ACME, names=[known.name, name]), None
        )

    assert not (await listed(house))[0].HasField("replay_time")


async def test_a_turn_that_fails_for_good_is_set_aside_record_by_record(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    house.memory.faults.refuse("ObserveEvents", times=3, code=grpc.StatusCode.INVALID_ARGUMENT)

    for _ in range(2):
        with pytest.raises(Exception, match="a turn failed"):
            await house.judge()
    await house.judge()
    [found] = await listed(house)
    await replay(house)

    assert "profile refused our call" in found.error.message
    assert (await house.decision("e")).state == Decision.STATE_SENT


async def test_a_record_is_set_aside_while_campaigns_change(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await _fail_twice(house)

    await house.launch(a_campaign(), "another")
    await house.judge()

    assert len(await listed(house)) == 1


async def test_a_record_that_another_worker_has_judged_meanwhile_is_not_set_aside(
    house: House,
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    positions = house.worker.partitions.positions()
    records = await house.log.read(positions, max_records=10, wait=timedelta(milliseconds=1))
    await _fail_twice(house)
    house.memory.faults.clear()
    await house.another_worker("two").turns.run([read_record(one) for one in records], positions)
    house.memory.faults.refuse("ObserveEvents", times=1, code=grpc.StatusCode.INVALID_ARGUMENT)

    await house.judge()

    assert await listed(house) == []
    assert (await house.decision("e")).state != Decision.STATE_REFUSED


async def _fail_twice(house: House) -> None:
    house.memory.faults.refuse("ObserveEvents", times=3, code=grpc.StatusCode.INVALID_ARGUMENT)
    for _ in range(2):
        with pytest.raises(Exception, match="a turn failed"):
            await house.judge()


def _broken_catalogue(good: Catalogue) -> Catalogue:
    from dataclasses import replace

    from services.trigger.rules import make_book

    def fail(*_: object) -> Seen:
        raise RuntimeError("planned: a bug in judging")

    plans = {key: replace(plan, filter=fail) for key, plan in good.plans.items()}
    return replace(good, plans=plans, books={"acme": make_book(plans.values())})
