"""Makes sure that a device belongs to one person at a time, and that it is told how it got there."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import device_service_pb2 as pb
from prometheus_client import REGISTRY

from mesh.errors import InvalidArgument, NotFound
from mesh.postgres import connect
from mesh.server import Stopping
from services.profile.convert.moments import micros
from services.profile.model.devices import DEVICES_MAX
from services.profile.rules.devices import usable
from services.profile.store import devices as device_store
from services.profile.store.retention import Retention
from services.profile.worker.devices import DeviceExpirer
from stack.servers import Postgres
from tests.integration.profile.neighbours import (
    ACTIVE,
    FCM,
    RELEASED,
    RETIRED,
    STALE,
    Neighbours,
    named,
    short,
)
from tests.integration.profile.world import NOW
from tests.waiting import eventually


async def tokens(world: Neighbours, *people: str) -> list[list[str]]:
    """The tokens that each of the people would be pushed to by."""
    keys = [("acme", one) for one in people]
    async with world.database.connection() as db:
        found = await device_store.read_devices(db, keys)
    now_us = micros(world.clock.now())
    return [[one.token for one in usable(found.get(key, ()), now_us)] for key in keys]


async def test_a_registered_device_is_shown_without_its_token(world: Neighbours) -> None:
    device = await world.register("ana", "secret-token", app="shop.acme", locale="de-DE")

    assert device == await world.get(device.name)
    assert await world.listed("ana") == [device]
    assert (device.app, device.locale, device.state) == ("shop.acme", "de-DE", ACTIVE)
    assert (
        device.create_time.ToDatetime(NOW.tzinfo) == NOW == device.seen_time.ToDatetime(NOW.tzinfo)
    )
    assert "secret-token" not in str(device)
    assert (await world.fetch("SELECT profile_id, shard FROM profiles"))[0]["profile_id"] == "ana"


async def test_to_register_again_says_that_the_device_was_seen(world: Neighbours) -> None:
    first = await world.register("ana", app="old")
    world.clock.advance(timedelta(days=3))

    second = await world.register("ana", app="new")

    assert (second.name, second.app) == (first.name, "new")
    assert second.create_time == first.create_time
    assert second.seen_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(days=3)
    assert await world.transfers("ana") == [("", "ana", "registered")]


async def test_a_token_is_taken_from_who_had_it(world: Neighbours) -> None:
    at_ana = await world.register("ana")

    at_ben = await world.register("ben")

    assert short(at_ben.name) == short(at_ana.name)
    assert await tokens(world, "ana", "ben") == [[], ["t1"]]
    assert (await world.get(at_ana.name)).state == RELEASED
    assert await world.transfers("ana") == [("", "ana", "registered"), ("ana", "ben", "registered")]
    assert await world.transfers("ben") == [("ana", "ben", "registered")]


async def test_a_token_given_up_is_forgotten(world: Neighbours) -> None:
    device = await world.register("ana", "kept-no-longer")
    await world.release(device.name)

    assert not await world.fetch("SELECT FROM devices WHERE token <> ''")


async def test_the_same_token_is_another_device_in_another_workspace(world: Neighbours) -> None:
    ours = await world.register("ana")
    request = pb.RegisterDeviceRequest(profile=named("ana", "other"), platform=FCM, token="t1")

    theirs = await world.devices.RegisterDevice(request, None)

    assert short(theirs.name) != short(ours.name)
    assert (await world.get(ours.name)).state == ACTIVE


async def test_twenty_who_log_in_with_one_token_leave_one_owner_and_the_whole_story(
    world: Neighbours,
) -> None:
    people = [f"p{index:02}" for index in range(20)]

    await asyncio.gather(*(world.register(one) for one in people))

    owners = [
        one for one, theirs in zip(people, await tokens(world, *people), strict=True) if theirs
    ]
    assert len(owners) == 1
    steps = {step for one in people for step in await world.transfers(one)}
    assert len(steps) == len(people)
    at, seen = "", set()
    while followers := [step for step in steps if step[0] == at and step not in seen]:
        (step,) = followers
        seen.add(step)
        at = step[1]
    assert (at, len(seen)) == (owners[0], len(people))
    assert len(await world.fetch("SELECT FROM device_owners")) == 1


async def test_to_log_out_is_to_let_go_and_may_be_repeated(world: Neighbours) -> None:
    device = await world.register("ana")
    world.clock.advance(timedelta(hours=1))

    released = await world.release(device.name)
    world.clock.advance(timedelta(hours=1))

    assert released.state == RELEASED
    assert released.end_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(hours=1)
    assert await world.release(device.name) == released
    assert await tokens(world, "ana") == [[]]
    assert await world.transfers("ana") == [
        ("", "ana", "registered"),
        ("ana", "", "released"),
    ]


async def test_to_log_in_again_begins_anew(world: Neighbours) -> None:
    device = await world.register("ana")
    await world.release(device.name)
    world.clock.advance(timedelta(hours=1))

    again = await world.register("ana")

    assert (again.state, again.HasField("end_time")) == (ACTIVE, False)
    assert again.create_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(hours=1)
    assert await tokens(world, "ana") == [["t1"]]


async def test_to_log_out_late_takes_nothing_from_the_next(world: Neighbours) -> None:
    at_ana = await world.register("ana")
    await world.register("ben")

    assert (await world.release(at_ana.name)).state == RELEASED
    assert await tokens(world, "ben") == [["t1"]]


@pytest.mark.parametrize("profile", ["ana", "ben", "nobody"])
async def test_a_device_one_never_had_is_not_found(world: Neighbours, profile: str) -> None:
    await world.register("ana")
    other = await world.register("cleo", "t2")
    name = f"{named(profile)}/devices/{short(other.name)}"

    for ask in (world.release, world.get):
        with pytest.raises(NotFound) as refused:
            await ask(name)
        assert refused.value.metadata == {"resourceName": name}


@pytest.mark.parametrize("name", ["", named("ana"), f"{named('ana')}/devices/one"])
async def test_a_name_must_be_that_of_a_device(world: Neighbours, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await world.get(name)


async def test_a_device_unseen_for_30_days_is_stale_until_it_is_seen(world: Neighbours) -> None:
    device = await world.register("ana")
    world.clock.advance(timedelta(days=30) - timedelta(seconds=1))
    assert (await world.get(device.name)).state == ACTIVE
    world.clock.advance(timedelta(seconds=1))

    assert (await world.get(device.name)).state == STALE
    assert await tokens(world, "ana") == [[]]
    assert (await world.register("ana")).state == ACTIVE
    assert await tokens(world, "ana") == [["t1"]]


async def test_a_device_that_the_provider_does_not_know_is_retired(world: Neighbours) -> None:
    device = await world.register("ana")
    world.clock.advance(timedelta(hours=1))

    retired = await world.retire(world.clock.now(), device.name, device.name, reason="410")

    assert retired == 1
    shown = await world.get(device.name)
    assert (shown.state, shown.reason) == (RETIRED, "410")
    assert await tokens(world, "ana") == [[]]
    assert await world.transfers("ana") == [("", "ana", "registered"), ("ana", "", "retired")]
    assert await world.retire(world.clock.now(), device.name) == 0


async def test_a_device_seen_after_the_report_stays(world: Neighbours) -> None:
    device = await world.register("ana")

    assert await world.retire(NOW - timedelta(microseconds=1), device.name) == 0
    assert (await world.get(device.name)).state == ACTIVE


async def test_a_report_retires_the_token_whosoever_has_it_now(world: Neighbours) -> None:
    at_ana = await world.register("ana")
    at_ben = await world.register("ben")
    world.clock.advance(timedelta(hours=1))

    assert await world.retire(world.clock.now(), at_ana.name) == 1
    assert (await world.get(at_ben.name)).state == RETIRED


async def test_a_clock_that_is_ahead_retires_nothing_to_come(world: Neighbours) -> None:
    device = await world.register("ana")
    async with world.database.connection() as db:
        await db.execute("UPDATE devices SET seen_us = seen_us + 60000000")

    assert await world.retire(NOW + timedelta(days=300_000), device.name) == 0


async def test_a_device_unseen_for_270_days_is_gone(world: Neighbours) -> None:
    old = [await world.register("ana", "t1"), await world.register("ben", "t2")]
    await world.release(old[1].name)
    world.clock.advance(timedelta(days=1))
    young = await world.register("ana", "t3")
    world.clock.advance(timedelta(days=269))

    expirer = DeviceExpirer(world.device_store, world.clock, limit=1)

    assert await expirer.run_once(Stopping()) == 2
    assert [one.name for one in await world.listed("ana")] == [young.name]
    assert not await world.listed("ben")
    assert (await world.transfers("ana"))[-1] == ("ana", "", "expired")
    assert (await world.transfers("ben"))[-1] == ("ben", "", "released")
    assert len(await world.fetch("SELECT FROM device_owners")) == 1


def failures() -> float:
    labels = {"worker": "profile_devices"}
    return REGISTRY.get_sample_value("beckon_worker_failures_total", labels) or 0.0


async def test_expiring_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    async with (
        Postgres(tmp_path, durable=False) as server,
        connect(server.url, schema="profile", size=1) as away,
    ):
        world = Neighbours(away)
        expirer = DeviceExpirer(world.device_store, world.clock)
        server.kill()
        stopping, before = Stopping(), failures()
        async with asyncio.TaskGroup() as group:
            expiring = group.create_task(expirer.run(stopping))
            await eventually(lambda: failures() > before)
            still_at_it = not expiring.done()
            stopping.set()

    assert still_at_it


async def test_the_device_seen_longest_ago_makes_room(world: Neighbours) -> None:
    first = await world.register("ana", "t0")
    released = await world.register("ana", "t1")
    for index in range(2, DEVICES_MAX):
        world.clock.advance(timedelta(seconds=1))
        await world.register("ana", f"t{index}")
    await world.release(released.name)

    await world.register("ana", "one-more")
    names = {one.name for one in await world.listed("ana")}
    assert (len(names), released.name in names, first.name in names) == (DEVICES_MAX, False, True)

    await world.register("ana", "and-another")
    names = {one.name for one in await world.listed("ana")}
    assert (len(names), first.name in names) == (DEVICES_MAX, False)
    assert (await world.transfers("ana"))[-1] == ("ana", "", "displaced")


async def test_devices_are_listed_last_seen_first_and_page_by_page(world: Neighbours) -> None:
    names = []
    for index in range(7):
        names.append((await world.register("ana", f"t{index}")).name)
        world.clock.advance(timedelta(seconds=index % 3))
    request, listed = pb.ListDevicesRequest(parent=named("ana"), page_size=3), []
    while True:
        page = await world.devices.ListDevices(request, None)
        listed += [one.name for one in page.devices]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert sorted(listed) == sorted(names)
    assert listed[0] == names[-1]


async def test_transfers_are_listed_page_by_page(world: Neighbours) -> None:
    for index in range(5):
        await world.register("ana" if index % 2 else "ben")
    request, listed = pb.ListDeviceTransfersRequest(parent=named("ben"), page_size=2), []
    while True:
        page = await world.devices.ListDeviceTransfers(request, None)
        listed += [(short(getattr(one, "from")), short(one.to)) for one in page.transfers]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert listed == [("ana", "ben"), ("ben", "ana"), ("ana", "ben"), ("ben", "ana"), ("", "ben")]


async def test_united_ids_have_all_devices_and_parted_ones_their_own(world: Neighbours) -> None:
    at_anon = await world.register("anon", "t1")
    await world.register("ana", "t2")

    await world.unite("ana", "anon")

    together = [f"{named('ana')}/devices/{short(one.name)}" for one in await world.listed("ana")]
    assert [one.name for one in await world.listed("anon")] == together
    assert (await world.get(at_anon.name)).name == f"{named('ana')}/devices/{short(at_anon.name)}"
    assert sorted((await tokens(world, "ana"))[0]) == ["t1", "t2"]
    assert len(await world.transfers("anon")) == 2

    await world.part(["ana"], ["anon"])

    assert await tokens(world, "ana", "anon") == [["t2"], ["t1"]]
    assert await world.transfers("anon") == [("", "anon", "registered")]


async def test_between_ids_of_one_person_nothing_changes_hands(world: Neighbours) -> None:
    await world.register("anon")
    await world.unite("ana", "anon")
    world.clock.advance(timedelta(hours=1))

    device = await world.register("ana")

    assert device.create_time.ToDatetime(NOW.tzinfo) == NOW
    assert len(await world.listed("ana")) == 1
    assert await world.transfers("ana") == [("", "ana", "registered")]
    await world.part(["ana"], ["anon"])
    assert await tokens(world, "ana", "anon") == [["t1"], []]


async def test_what_a_united_id_lets_go_is_let_go(world: Neighbours) -> None:
    device = await world.register("anon")
    await world.unite("ana", "anon")

    await world.release(device.name)

    assert await tokens(world, "ana") == [[]]
    assert not await world.fetch("SELECT FROM device_owners")


async def test_the_erased_leave_no_device_and_no_name(world: Neighbours) -> None:
    await world.register("ana", "t1")
    await world.register("ben", "t1")
    await world.register("cleo", "t1")
    await world.register("ben", "t2")
    async with world.database.transaction() as db:
        counts = await device_store.erase(db, "acme", "ben")

    assert counts == {"devices": 2, "device_transfers": 3}
    assert await world.transfers("ana") == [("", "ana", "registered"), ("ana", "", "registered")]
    assert await world.transfers("cleo") == [("", "cleo", "registered")]
    assert await tokens(world, "cleo") == [["t1"]]
    for table in ("devices", "device_owners", "device_transfers"):
        rows = await world.fetch(f"SELECT t::text AS line FROM {table} AS t")
        assert not [row for row in rows if "ben" in row["line"]]


async def test_how_devices_changed_hands_long_ago_is_let_go_of(world: Neighbours) -> None:
    await world.register("ana")
    world.clock.advance(timedelta(days=1))
    await world.register("ben")

    forgotten = await Retention(world.database).forget_transfers(NOW + timedelta(hours=1), limit=9)

    assert forgotten == 1
    assert await world.transfers("ana") == [("ana", "ben", "registered")]
    assert await world.transfers("ben") == [("ana", "ben", "registered")]
    assert await tokens(world, "ben") == [["t1"]]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"token": "two words"}, "token"),
        ({"token": "t\0"}, "token"),
        ({"app": "a\0b"}, "app"),
        ({"locale": "german!"}, "locale"),
    ],
)
async def test_what_cannot_be_is_refused_and_not_told_back(
    world: Neighbours, fields: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await world.register("ana", **fields)

    assert [one.field for one in refused.value.violations] == [field]
    assert fields[field] not in refused.value.message
    assert refused.value.reason == ErrorReason.ERROR_REASON_FIELD_INVALID
