"""Holds the worker, on a real PostgreSQL and a real Redis, against the same reference as the rules."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count, islice

import msgspec
import pytest
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb

from mesh.ids import event_uid
from services.trigger.convert.sends import send_uid
from tests.effort import examples
from tests.integration.trigger import conftest
from tests.integration.trigger.house import House, an_event
from tests.model.histories import History, Step, draw
from tests.model.played import campaign_of
from tests.model.reference import Reference, Sent

# One test's fixtures are another's tools.
house, migrated_url = conftest.house, conftest.migrated_url

NAME = "workspaces/acme/campaigns/news"
TEMPLATE = "workspaces/acme/templates/news"


def histories(number: int) -> list[History]:
    """Return histories of what trigger alone decides: no caps, and nobody is merged."""
    drawn = (draw(seed) for seed in count(1))
    plain = (
        replace(one, steps=tuple(step for step in one.steps if step.what != "merge"))
        for one in drawn
        if one.rules.cap is None
    )
    return list(islice(plain, number))


@pytest.mark.parametrize("history", histories(examples(8)), ids=lambda one: f"seed {one.seed}")
async def test_the_worker_does_what_the_reference_does(house: House, history: History) -> None:
    found = await play(house, history)

    assert sorted(found) == sorted(Reference(history).run()), history.told()


async def play(house: House, history: History) -> list[Sent]:
    """Return the messages that go out."""
    house.clock.time = history.begin
    for who, zone in history.zones.items():
        house.memory.profile.profiles[name_of(who)].time_zone = zone
    campaign = campaign_of(history.rules)
    campaign.message.template = TEMPLATE
    for variant in campaign.variants:
        variant.message.template = "workspaces/acme/templates/large"
    await house.launch(campaign, "news")
    sent: list[Sent] = []
    for step in history.steps:
        await pass_time(house, history, step.time, sent)
        await work(house, history, step.time, sent)
        await happen(house, step)
        await work(house, history, step.time, sent)
    await pass_time(house, history, house.clock.time + timedelta(days=10), sent)
    return sent


async def pass_time(house: House, history: History, until: datetime, sent: list[Sent]) -> None:
    while True:
        async with house.database.connection() as connection:
            wake = await connection.fetchval(
                "SELECT min(wake_time) FROM enrollments WHERE state = 2 AND wake_time IS NOT NULL"
            )
        if wake is None or wake >= until:
            return
        await work(house, history, max(wake, house.clock.time), sent)


async def work(house: House, history: History, now: datetime, sent: list[Sent]) -> None:
    """Do what is to be done at an instant; take down what goes out."""
    house.clock.time = now
    await house.worker.partitions.run_once()
    await house.work()
    steps = {
        send_uid("news", step.who, event_uid("acme", step.id), 1).bytes: step
        for step in history.steps
        if step.what == "filled"
    }
    for one in house.out[len(sent) :]:
        step = steps[one.delivery_id]
        variant = "large" if one.template.endswith("/large") else "default"
        data = msgspec.json.decode(one.data_json)
        gathered = data.get("digest", {}).get("count", 0)
        sent.append(Sent(now, step.who, step.id, variant, gathered))


async def happen(house: House, step: Step) -> None:
    match step.what:
        case "pause":
            await house.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=NAME), None)
        case "launch":
            await house.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=NAME), None)
        case "zone":
            house.memory.profile.profiles[name_of(step.who)].time_zone = step.word
        case "again":
            pass
        case _:
            event = an_event(
                step.what,
                id=step.id,
                profile=step.who,
                at=step.occurred,
                value=step.value,
                order=step.order,
            )
            await house.append(event)


def name_of(who: str) -> str:
    return f"workspaces/acme/profiles/{who}"
