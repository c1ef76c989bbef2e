"""A broadcast comes to everybody once, whatever crashes, and its account closes always."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from beckon.trigger.v1 import broadcast_service_pb2 as pb
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1.campaign_service_pb2 import Audience, Campaign, Recipient, Schedule, Trigger
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import Unavailable
from mesh.pages import PageTokens
from mesh.server import Stopping
from services.trigger.servicer import BroadcastServicer
from services.trigger.store import BroadcastStore
from services.trigger.worker import Worker
from tests.integration.trigger.house import House, a_campaign, an_event
from tests.integration.trigger.peers import Known
from tests.integration.trigger.test_people import unite
from tests.waiting import eventually

_State = pb.Broadcast.State


def a_broadcast(**rest: Any) -> Campaign:
    """Return a campaign that goes out to everybody at launch unless told."""
    schedule = Schedule(audience=Audience(everyone=True), **rest.pop("times", {}))
    campaign = a_campaign(**rest)
    campaign.trigger.CopyFrom(Trigger(schedule=schedule, filter=campaign.trigger.filter))
    return campaign


def a_fan_out(**rest: Any) -> Campaign:
    recipient = Recipient(relation=Recipient.Relation(kind="follows"))
    return a_campaign(event_type="posted", recipient=recipient, reentry=0, **rest)


def people(house: House, count: int, **known: Any) -> list[str]:
    names = [f"workspaces/acme/profiles/p{n:03}" for n in range(count)]
    for name in names:
        house.memory.profile.profiles[name] = Known(**known)
    return names


def servicer(house: House, worker: Worker | None = None) -> BroadcastServicer:
    broadcasts = (worker or house.worker).broadcasts
    return BroadcastServicer(
        BroadcastStore(house.database),
        PageTokens(b"secret"),
        house.clock,
        account=broadcasts.account,
        ring=broadcasts.ring,
    )


async def listed(house: House, **rest: Any) -> list[pb.Broadcast]:
    request = pb.ListBroadcastsRequest(parent="workspaces/acme/campaigns/cart", **rest)
    return list((await servicer(house).ListBroadcasts(request, None)).broadcasts)


async def got(house: House) -> pb.Broadcast:
    [one] = await listed(house)
    found = await servicer(house).GetBroadcast(pb.GetBroadcastRequest(name=one.name), None)
    account = found.account
    counted = sum(account.suppressed.values()) + sum(account.failed.values())
    assert account.pending_count >= 0
    assert account.audience_count == account.sent_count + counted + account.pending_count
    return found


async def go(house: House, worker: Worker | None = None) -> None:
    """Plan, go through what there is to be gone through, and send what is due."""
    one = worker or house.worker
    await one.catalogues.reload()
    await one.broadcasts.plan()
    await one.relay.claim()
    for _ in range(200):
        if not await one.broadcasts.run_once(house.stopping):
            break
        await house.work(one)
    await house.work(one)


async def close(house: House, worker: Worker | None = None) -> pb.Broadcast:
    await go(house, worker)
    house.clock.advance(seconds=31)
    await go(house, worker)
    return await got(house)


def recipients(house: House) -> Counter[str]:
    return Counter(send.profile for send in house.out)


async def test_a_broadcast_comes_to_everybody_once_and_never_again(house: House) -> None:
    names = people(house, 7)
    await house.launch(a_broadcast())

    found = await close(house)
    house.clock.advance(hours=1)
    await go(house)

    assert recipients(house) == Counter(names)
    assert (found.state, found.account.sent_count, found.counted) == (_State.STATE_DONE, 7, True)
    assert found.HasField("end_time")


async def test_its_own_event_names_the_time_it_was_planned_for(house: House) -> None:
    people(house, 1)
    await house.launch(a_broadcast(times={"date_time": "2026-03-01T13:00"}))

    await go(house)
    assert not house.out
    house.clock.advance(hours=1)
    await go(house)

    assert b'"planned_time":"2026-03-01T13:00"' in house.out[0].data_json


async def test_the_account_tells_refused_failed_and_pending_apart(house: House) -> None:
    names = people(house, 6)
    house.memory.profile.profiles[names[0]].attributes["out"] = True
    house.memory.delivery.failed.add(names[1])
    house.memory.delivery.pending.add(names[2])
    await house.launch(a_broadcast(filter="!has(profile.attributes.out)"))
    await go(house)

    account = (await got(house)).account

    assert account.audience_count == 6
    assert dict(account.suppressed) == {"filter": 1}
    assert dict(account.failed) == {"provider_refused": 1}
    assert (account.sent_count, account.pending_count) == (3, 1)
    house.memory.delivery.pending.clear()
    assert (await close(house)).state == _State.STATE_DONE


@pytest.mark.parametrize("worker_dies_after", range(5))
async def test_a_crash_between_pages_misses_nobody_and_repeats_nobody(
    house: House, worker_dies_after: int
) -> None:
    names = people(house, 9)
    await house.launch(a_broadcast())
    await house.worker.broadcasts.plan()
    await house.worker.broadcasts.run_once(house.stopping)
    pages = 0

    async def die(*args: Any, **rest: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages > worker_dies_after:
            raise asyncio.CancelledError
        return await admit(*args, **rest)

    admit = house.worker.admissions.admit
    house.worker.admissions.admit = die  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await house.worker.broadcasts.run_once(house.stopping)
    assert (await got(house)).account.audience_count == min(2 * worker_dies_after, 9)

    found = await close(house, await house.succeed())

    assert recipients(house) == Counter(names)
    assert found.account.sent_count == 9


async def test_a_commit_whose_cursor_fails_begins_nobody(house: House) -> None:
    people(house, 4)
    await house.launch(a_broadcast())
    await house.worker.broadcasts.plan()
    await house.worker.broadcasts.run_once(house.stopping)
    stream = house.worker.broadcasts._profile.audience

    async def end_meanwhile(request: Any) -> Any:
        async for page in stream(request):
            async with house.database.connection() as connection:
                await connection.execute("UPDATE broadcasts SET cursor = 'elsewhere'")
            yield page

    house.worker.broadcasts._profile.audience = end_meanwhile  # type: ignore[method-assign]
    await house.worker.broadcasts.run_once(house.stopping)

    assert (await got(house)).account.audience_count == 0


async def test_a_stream_that_breaks_off_is_resumed_behind_the_last_page(house: House) -> None:
    names = people(house, 9)
    await house.launch(a_broadcast())
    await house.worker.broadcasts.plan()
    for _ in range(3):
        house.memory.faults.refuse("StreamAudience")
        house.clock.advance(seconds=31)
        with suppress(Unavailable):
            await house.worker.broadcasts.run_once(house.stopping)

    await close(house)

    assert recipients(house) == Counter(names)


async def test_two_workers_at_once_tell_everybody_once(house: House) -> None:
    names = people(house, 20)
    await house.launch(a_broadcast())
    other = house.another_worker("two")

    await asyncio.gather(go(house), go(house, other))
    found = await close(house)

    assert recipients(house) == Counter(names)
    assert found.account.sent_count == 20
    assert len(await listed(house)) == 1


async def test_a_paused_campaign_holds_its_broadcast_until_it_is_launched_again(
    house: House,
) -> None:
    names = people(house, 9)
    made = await house.launch(a_broadcast())
    await house.worker.broadcasts.plan()
    await house.worker.broadcasts.run_once(house.stopping)
    await house.campaigns.PauseCampaign(campaign_pb.PauseCampaignRequest(name=made.name), None)

    await close(house)
    assert not house.out
    await house.campaigns.LaunchCampaign(campaign_pb.LaunchCampaignRequest(name=made.name), None)
    found = await close(house)

    assert recipients(house) == Counter(names)
    assert found.account.sent_count == 9


async def test_cancelled_in_the_middle_who_waits_leaves_with_the_reason(house: House) -> None:
    people(house, 5)
    await house.launch(a_broadcast(delay=3600))
    await house.worker.broadcasts.plan()
    while not (await listed(house)) or not (await got(house)).counted:
        await house.worker.broadcasts.run_once(house.stopping)
    [one] = await listed(house)

    canceled = await servicer(house).CancelBroadcast(pb.CancelBroadcastRequest(name=one.name), None)
    found = await close(house)
    house.clock.advance(hours=2)
    await go(house)

    assert canceled.state == found.state == _State.STATE_CANCELED
    assert dict(found.account.suppressed) == {"broadcast": 5}
    assert not house.out
    [decision] = await house.decided("p000")
    assert decision.gates[-1].name == "broadcast"


async def test_archiving_its_campaign_ends_it(house: House) -> None:
    people(house, 5)
    made = await house.launch(a_broadcast(times={"date_time": "2026-03-01T13:00"}))
    await house.worker.broadcasts.plan()
    await house.campaigns.ArchiveCampaign(campaign_pb.ArchiveCampaignRequest(name=made.name), None)
    house.clock.advance(hours=2)

    found = await close(house)

    assert found.state == _State.STATE_CANCELED
    assert not house.out


async def test_each_planned_time_is_one_broadcast_however_many_workers(house: House) -> None:
    people(house, 2)
    await house.launch(a_broadcast(times={"cron": "0 13 * * *"}, reentry=0))
    other = house.another_worker("two")

    for _ in range(3):
        house.clock.advance(days=1)
        await asyncio.gather(go(house), go(house, other))

    begun = [one for one in await listed(house) if one.state != _State.STATE_PLANNED]
    assert len({one.start_time.ToDatetime() for one in begun}) == len(begun)
    assert recipients(house).total() == 2 * len(begun)
    assert len(begun) >= 2


async def test_another_schedule_moves_the_planned_time(house: House) -> None:
    made = await house.launch(a_broadcast(times={"date_time": "2026-03-02T13:00"}))
    await house.worker.broadcasts.plan()
    made.trigger.schedule.date_time = "2026-03-05T13:00"
    made.ClearField("etag")
    await house.campaigns.UpdateCampaign(
        campaign_pb.UpdateCampaignRequest(campaign=made, update_mask=FieldMask(paths=["trigger"])),
        None,
    )
    await house.worker.catalogues.reload()
    await house.worker.broadcasts.plan()

    [one] = await listed(house)
    assert one.start_time.ToDatetime().day == 5


async def test_by_each_clock_it_is_due_at_that_time_of_hers(house: House) -> None:
    for name, zone in (("kir", "Pacific/Kiritimati"), ("ny", "America/New_York"), ("no", "")):
        house.memory.profile.profiles[f"workspaces/acme/profiles/{name}"] = Known(time_zone=zone)
    await house.launch(a_broadcast(times={"date_time": "2026-03-02T09:00", "recipient_time": True}))
    seen: dict[str, str] = {}

    for _ in range(72):
        await go(house)
        for send in house.out:
            seen.setdefault(send.profile.rpartition("/")[2], house.clock.now().isoformat()[:16])
        house.clock.advance(hours=1)

    assert seen == {
        "kir": "2026-03-01T19:00",
        "no": "2026-03-02T09:00",
        "ny": "2026-03-02T14:00",
    }


async def test_an_event_is_told_to_all_followers_but_not_to_who_did_it(house: House) -> None:
    names = people(house, 5)
    house.memory.watches.related["workspaces/acme/profiles/ana"] = [
        *names,
        "workspaces/acme/profiles/ana",
    ]
    await house.launch(a_fan_out())
    await house.append(an_event("posted", id="post-1"))
    await house.work()

    found = await close(house)

    assert recipients(house) == Counter(names)
    assert (found.event_id, found.account.audience_count) == ("post-1", 5)


async def test_an_event_that_is_judged_twice_is_told_once(house: House) -> None:
    names = people(house, 3)
    house.memory.watches.related["workspaces/acme/profiles/ana"] = names
    await house.launch(a_fan_out())
    event = an_event("posted", id="post-1")
    await house.append(event)
    await house.work()
    await house.append(event)
    await house.work(await house.succeed())

    await close(house)

    assert recipients(house) == Counter(names)


async def test_a_filter_is_asked_of_each_follower(house: House) -> None:
    names = people(house, 3)
    house.memory.profile.profiles[names[0]].attributes["muted"] = True
    house.memory.watches.related["workspaces/acme/profiles/ana"] = names
    await house.launch(a_fan_out(filter="!has(profile.attributes.muted)"))
    await house.append(an_event("posted", id="post-1"))
    await house.work()

    found = await close(house)

    assert recipients(house) == Counter(names[1:])
    assert dict(found.account.suppressed) == {"filter": 1}


async def test_what_an_erased_person_did_is_told_to_nobody_more(house: House) -> None:
    names = people(house, 3)
    house.memory.watches.related["workspaces/acme/profiles/ana"] = names
    await house.launch(a_fan_out())
    await house.append(an_event("posted", id="post-1", secret="hers"))
    await house.judge()
    house.memory.profile.erase("ana")
    await house.append(
        an_event("profile_erased", erasure="workspaces/acme/erasures/x", profile_ids=["ana"])
    )
    await house.judge()

    found = await close(house)

    assert not house.out
    assert found.event_id == ""
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT properties FROM broadcasts") == b"{}"


async def test_a_team_is_told_at_once_and_who_did_it_only_if_asked(house: House) -> None:
    team = Recipient.Team(
        profiles=[f"workspaces/acme/profiles/{one}" for one in ("ana", "sue", "tom", "sue")]
    )
    await house.launch(a_campaign(recipient=Recipient(team=team), reentry=0))
    await house.append(an_event(profile="ana"))
    await house.work()

    assert recipients(house) == Counter(
        {"workspaces/acme/profiles/sue": 1, "workspaces/acme/profiles/tom": 1}
    )


async def test_a_property_may_name_several_and_each_is_told_once(house: House) -> None:
    recipient = Recipient(event_property="watchers", include_actor=True)
    await house.launch(a_campaign(recipient=recipient, reentry=0))
    await house.append(an_event(profile="ana", watchers=["ben", "cleo", "ben", "ana", "bad id"]))
    await house.work()

    assert sorted(one.rpartition("/")[2] for one in recipients(house)) == ["ana", "ben", "cleo"]
    assert set(recipients(house).values()) == {1}


async def test_ended_broadcasts_go_with_their_decisions_and_do_not_come_again(
    house: House,
) -> None:
    names = people(house, 2)
    await house.launch(a_broadcast())
    await go(house)
    house.clock.advance(seconds=31)
    await go(house)
    house.memory.watches.related["workspaces/acme/profiles/ana"] = names
    await house.launch(a_fan_out(), "news")
    await house.append(an_event("posted", profile="ana"))
    await house.work()
    await go(house)
    house.clock.advance(seconds=31)
    await go(house)

    house.clock.advance(days=91)
    await house.worker.housekeeping.sweep()
    await go(house)

    kept = await house.database.pool.fetch("SELECT campaign FROM broadcasts")
    assert [row["campaign"] for row in kept] == ["cart"]
    assert len(house.out) == 4


async def test_of_daily_broadcasts_the_latest_is_kept(house: House) -> None:
    people(house, 1)
    await house.launch(a_broadcast(times={"cron": "0 9 * * *", "time_zone": "UTC"}))
    for _ in range(3):
        house.clock.advance(days=1)
        await go(house)
        house.clock.advance(seconds=31)
        await go(house)

    house.clock.advance(days=91)
    await house.worker.housekeeping.sweep()

    ended = "SELECT count(*) FROM broadcasts WHERE end_time IS NOT NULL"
    assert await house.database.pool.fetchval(ended) == 1


async def test_who_is_still_to_be_sent_is_found_without_a_look_at_the_others(house: House) -> None:
    async with house.database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(
            "EXPLAIN SELECT FROM enrollments WHERE broadcast = gen_random_uuid()"
            " AND state IN (2, 3, 6)"
        )

    assert "enrollments_broadcast_open" in "".join(row[0] for row in plan)


async def test_who_is_told_by_an_earlier_digest_is_of_the_audience(house: House) -> None:
    names = people(house, 2)
    house.memory.watches.related["workspaces/acme/profiles/ana"] = names
    gathers = a_fan_out()
    gathers.digest.fixed.FromSeconds(3600)
    await house.launch(gathers)
    await house.append(an_event("posted", id="post-1"))
    await house.work()
    await go(house)
    house.clock.advance(minutes=1)
    await house.append(an_event("posted", id="post-2"))
    await house.work()
    await go(house)
    house.clock.advance(hours=1)
    await go(house)
    house.clock.advance(seconds=31)
    await go(house)

    later, first = await listed(house)
    of = {}
    for one in (first, later):
        request = pb.GetBroadcastRequest(name=one.name)
        of[one.event_id] = (await servicer(house).GetBroadcast(request, None)).account
    assert (of["post-1"].audience_count, of["post-1"].sent_count) == (2, 2)
    assert (of["post-2"].audience_count, dict(of["post-2"].suppressed)) == (2, {"digest": 2})
    assert recipients(house) == Counter(names)


async def test_a_broadcast_that_cannot_be_judged_says_so_and_stops_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = people(house, 2)
    await house.launch(a_broadcast())
    admit = house.worker.broadcasts._admissions.admit

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(house.worker.broadcasts._admissions, "admit", fail)
    stopping = Stopping()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.worker.broadcasts.run(stopping))
        await eventually(partial(listed, house), lambda found: any(one.error for one in found))
        stopping.set()
    failed = await got(house)
    monkeypatch.setattr(house.worker.broadcasts._admissions, "admit", admit)
    house.clock.advance(seconds=11)
    found = await close(house)

    assert "failure of ours" in failed.error
    assert (found.state, found.error) == (_State.STATE_DONE, "")
    assert recipients(house) == Counter(names)


async def test_the_account_closes_though_two_of_the_audience_were_one_person(house: House) -> None:
    names = people(house, 3)
    house.memory.delivery.pending.add(names[2])
    await house.launch(a_broadcast())
    await go(house)

    await unite(house, "p000", "p001")
    await house.work()
    house.memory.delivery.pending.clear()
    async with asyncio.timeout(30):
        found = await close(house)

    assert (found.state, found.account.audience_count) == (_State.STATE_DONE, 3)
    assert found.account.sent_count == 3
