"""No minute has more of a campaign's messages than its rate, however many workers send them."""

import asyncio
from datetime import datetime, timedelta

from beckon.trigger.v1 import campaign_service_pb2 as pb

from services.trigger.store import RateStore
from services.trigger.worker import Worker
from tests.integration.trigger.house import House, a_campaign, an_event


async def run(house: House, seconds: int, *workers: Worker) -> list[datetime]:
    """Let so many seconds pass, one by one; return when each message went out."""
    times: list[datetime] = []
    for _ in range(seconds):
        for one in workers or (house.worker,):
            await one.timers.run_once()
            await one.relay.drain(house.stopping)
        times += [house.clock.now()] * (len(house.out) - len(times))
        house.clock.advance(seconds=1)
    return times


def fullest_minute(times: list[datetime]) -> int:
    return max(sum(0 <= (other - one).total_seconds() < 60 for other in times) for one in times)


async def test_a_burst_goes_out_at_the_rate_and_all_of_it(house: House) -> None:
    await house.launch(a_campaign(reentry=0, sends_per_minute=30))
    await house.append(*(an_event(profile=f"p{n}") for n in range(75)))
    await house.judge()

    times = await run(house, 170)

    assert len(times) == 75
    assert fullest_minute(times) <= 30
    # And hardly slower than it may.
    assert (times[-1] - times[0]).total_seconds() < 160


async def test_two_workers_share_one_rate(house: House) -> None:
    await house.launch(a_campaign(reentry=0, sends_per_minute=30))
    await house.append(*(an_event(profile=f"p{n}") for n in range(60)))
    await house.judge()
    other = house.another_worker("two")
    # The partitions are split between them.
    for _ in range(3):
        await other.partitions.run_once()
        await house.worker.partitions.run_once()

    times = await run(house, 130, house.worker, other)

    assert len(times) == 60
    assert fullest_minute(times) <= 30


async def test_after_a_pause_what_was_missed_does_not_go_out_at_once(house: House) -> None:
    made = await house.launch(a_campaign(reentry=0, sends_per_minute=30))
    await house.append(*(an_event(profile=f"p{n}") for n in range(60)))
    await house.judge()
    early = await run(house, 10)
    await house.campaigns.PauseCampaign(pb.PauseCampaignRequest(name=made.name), None)
    await house.worker.catalogues.reload()
    await run(house, 90)
    await house.campaigns.LaunchCampaign(pb.LaunchCampaignRequest(name=made.name), None)
    await house.worker.catalogues.reload()

    late = await run(house, 240)

    assert len(house.out) == 60
    # Those that went out before the pause are more than a minute past.
    assert fullest_minute(late[len(early) :]) <= 30


async def test_slots_taken_at_once_by_many_are_all_apart(house: House) -> None:
    store, now = RateStore(house.database), house.clock.now()
    name = ("acme", "cart")

    first = await asyncio.gather(
        *(store.take({name: (3, timedelta(seconds=2))}, now) for _ in range(20))
    )

    assert sorted(one[name] for one in first) == [now + timedelta(seconds=6 * n) for n in range(20)]
