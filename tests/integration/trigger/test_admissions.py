"""What begins outside the log begins once, by the same rules, whatever else happens."""

import asyncio
from typing import Any

import pytest

from mesh.errors import FailedPrecondition
from mesh.postgres import Connection
from services.trigger.model import Admitted, Candidate, Occurrence, Person
from tests.integration.trigger.house import House, a_campaign, an_event
from tests.unit.trigger.builders import a_person, an_occurrence


def a_candidate(house: House, profile: str = "ana", event_id: str = "b") -> Candidate:
    event: Occurrence = an_occurrence(
        "trial_near", event_id=event_id, profile=profile, at=house.clock.now()
    )
    person: Person = a_person(profile)
    return Candidate(event, person)


async def admit(house: House, *some: Candidate, **rest: Any) -> list[Admitted]:
    return await house.worker.admissions.admit("acme", "cart", some, **rest)


async def test_what_is_admitted_twice_goes_out_once(house: House) -> None:
    await house.launch(a_campaign())
    one = a_candidate(house)

    [first] = await admit(house, one)
    [second] = await admit(house, one)
    await house.work()

    assert (first.entered, first.again) == (True, False)
    assert (second.entered, second.again) == (True, True)
    assert [send.profile for send in house.out] == ["workspaces/acme/profiles/ana"]


async def test_a_refusal_is_put_on_record_once_and_reported_again(house: House) -> None:
    await house.launch(a_campaign(filter="profile.attributes.tier == 'gold'"))
    one = a_candidate(house)

    answers = [*await admit(house, one), *await admit(house, one)]

    assert [(one.entered, one.again, one.gates[-1].name) for one in answers] == [
        (False, False, "filter"),
        (False, True, "filter"),
    ]
    assert len(await house.decided()) == 1


async def test_many_at_once_begin_one_passage_each(house: House) -> None:
    await house.launch(a_campaign())
    some = [a_candidate(house, profile=f"p{n}") for n in range(20)]

    answers = await asyncio.gather(*(admit(house, *some) for _ in range(5)))
    await house.work()

    assert all(one.entered for answer in answers for one in answer)
    assert len(house.out) == 20


async def test_reentry_holds_between_what_is_admitted_and_what_the_log_begins(
    house: House,
) -> None:
    await house.launch(a_campaign())
    await house.append(an_event())
    await house.work()

    [after] = await admit(house, a_candidate(house))

    assert after.gates[-1].name == "reentry"


async def test_what_is_written_beside_stands_or_falls_with_the_passages(house: House) -> None:
    await house.launch(a_campaign())

    async def fail(connection: Connection) -> None:
        message = "the cursor could not be written"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        await admit(house, a_candidate(house), beside=fail)

    assert await house.decided() == []


async def test_a_campaign_that_is_not_in_force_takes_nobody(house: House) -> None:
    with pytest.raises(FailedPrecondition):
        await admit(house, a_candidate(house))
