"""Makes sure that `identify` events unite people, in order, once, and never across a shared device."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from beckon.ingest.v1.event_pb2 import Event
from beckon.profile.v1 import device_service_pb2 as device_pb
from beckon.profile.v1 import identity_service_pb2 as pb
from beckon.profile.v1 import observation_service_pb2 as observation_pb

from services.profile.store import Turn
from tests.integration.profile.forgetting import Forgetting
from tests.integration.profile.test_identity import (
    LIVE,
    REFUSED,
    get,
    merge,
    merges,
    named,
    owed,
    unmerge,
)
from tests.integration.profile.world import Profiles, a_record, an_event

ORDERS = ["order_placed"]


def identifies(
    event_id: str,
    *,
    profile: str = "ana",
    anonymous: str | Sequence[str] | None = None,
    alias: str | Sequence[str] | None = None,
    **attributes: object,
) -> Event:
    """Return an `identify` event."""
    properties: dict[str, object] = {}
    if anonymous is not None:
        properties["anonymous_id"] = anonymous
    if alias is not None:
        properties["alias"] = alias
    if attributes:
        properties["attributes"] = attributes
    return an_event(event_id, kind="identify", profile=profile, properties=properties)


async def test_what_she_did_before_she_was_known_is_hers(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1", profile="a1")))

    await profiles.observe(a_record("2", identifies("i1", anonymous="a1", tier="gold")))

    shown = await get(profiles, "a1")
    assert shown.name == named("ana")
    assert dict(shown.attributes) == {"tier": "gold"}
    assert shown.counters["order_placed"].count == 1
    assert await merges(profiles, "ana") == [("a1", "ana", LIVE)]
    (told,) = await owed(profiles)
    assert told[:2] == ("profile_merged", "ana")
    assert told[2]["moved_ids"] == ["a1"]


async def test_events_after_it_in_the_same_turn_meet_the_union(profiles: Profiles) -> None:
    answer = await profiles.observe(
        a_record(
            "1",
            an_event("e1", profile="a1"),
            an_event("e2"),
            identifies("i1", anonymous="a1"),
            an_event("e3", profile="a1"),
            an_event("e4"),
            an_event("e5", profile="ben"),
        ),
        wanted=[*ORDERS, "identify"],
    )

    standings = [answer.standings[answer.event_standings[at]] for at in range(6)]
    counts = [
        sum(one.count for one in standing.counters if one.type == "order_placed")
        for standing in standings
    ]
    assert counts == [1, 1, 2, 3, 4, 1]
    assert [standing.profile_id for standing in standings] == ["", "", "", "ana", "", ""]
    assert [list(standing.member_ids) for standing in standings] == [
        [],
        [],
        ["a1", "ana"],
        ["a1", "ana"],
        ["a1", "ana"],
        [],
    ]


async def test_several_in_one_turn_form_a_chain(profiles: Profiles) -> None:
    await profiles.observe(
        a_record(
            "1",
            identifies("i1", profile="b", alias="a"),
            identifies("i2", profile="c", alias=["b", "x"]),
            identifies("i3", profile="d", alias="a"),
            an_event("e1", profile="x"),
        )
    )

    assert (await get(profiles, "x")).name == named("d")
    assert list((await get(profiles, "x")).member_ids) == ["a", "b", "c", "d", "x"]
    assert [one[:2] for one in await merges(profiles, "a")] == [
        ("a", "d"),
        ("x", "c"),
        ("b", "c"),
        ("a", "b"),
    ]
    told = [one[2] for one in await owed(profiles)]
    assert [one["into"] for one in told] == ["b", "c", "c", "d"]
    versions = [int(str(one["version"])) for one in told]
    assert versions == sorted(set(versions))


async def test_an_anonymous_id_that_is_somebody_elses_stays_hers(profiles: Profiles) -> None:
    """A tablet on a counter: whoever logs in next is not who did before."""
    await profiles.observe(a_record("1", identifies("i1", anonymous="tablet")))
    await profiles.observe(
        a_record("2", identifies("i2", profile="ben", anonymous="tablet", tier="new"))
    )
    await profiles.observe(a_record("3", identifies("i3", profile="ben", anonymous="tablet")))

    assert (await get(profiles, "tablet")).name == named("ana")
    assert list((await get(profiles, "ben")).member_ids) == []
    assert dict((await get(profiles, "ben")).attributes) == {"tier": "new"}
    assert await merges(profiles, "ben") == [("tablet", "ben", REFUSED)]
    request = pb.ListMergesRequest(parent=named("ben"))
    (refused,) = (await profiles.identity.ListMerges(request, None)).merges
    assert refused.reason == "belongs to somebody else: a shared device"
    assert await merges(profiles, "tablet") == [
        ("tablet", "ben", REFUSED),
        ("tablet", "ana", LIVE),
    ]


async def test_an_alias_unites_whosoever_it_was(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", identifies("i1", anonymous="tablet")))
    await profiles.observe(a_record("2", identifies("i2", profile="ben", alias="tablet")))

    assert (await get(profiles, "ana")).name == named("ben")


async def test_logging_in_again_adds_no_merge(profiles: Profiles) -> None:
    for at in range(3):
        await profiles.observe(a_record(str(at), identifies(f"i{at}", anonymous="a1")))

    assert len(await merges(profiles, "ana")) == 1
    assert await profiles.count("identify") == 3


async def test_a_repeat_of_the_record_changes_nothing(profiles: Profiles) -> None:
    record = a_record(
        "1", an_event("e1", profile="a1"), identifies("i1", anonymous="a1"), an_event("e2")
    )
    first = await profiles.observe(record, wanted=ORDERS)
    (made,) = (
        await profiles.identity.ListMerges(pb.ListMergesRequest(parent=named("ana")), None)
    ).merges
    await unmerge(profiles, made)

    assert await profiles.observe(record, wanted=ORDERS) == first
    await profiles.store.forget_answers(before=profiles.clock.now().replace(year=2027))
    await profiles.observe(record, wanted=ORDERS)

    assert list((await get(profiles, "ana")).member_ids) == []
    assert await profiles.count() == 1
    assert await profiles.count(profile="a1") == 1


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"anonymous_id": "no/slash"}, "properties.anonymous_id"),
        ({"anonymous_id": 7}, "properties.anonymous_id"),
        ({"alias": [f"p{at}" for at in range(11)]}, "properties.alias"),
        ({"anonymous_id": "a1", "attributes": {"email": "none"}}, "properties.attributes.email"),
        ({"anonymous_id": "a1", "attributes": [1]}, "properties.attributes"),
    ],
)
async def test_one_that_cannot_be_understood_unites_nobody(
    profiles: Profiles, properties: dict[str, object], field: str
) -> None:
    answer = await profiles.observe(
        a_record("1", an_event("i1", kind="identify", properties=properties), an_event("e1"))
    )

    assert list(answer.failed_events) == [0]
    assert field in answer.failed_events[0].message
    assert await profiles.fetch("SELECT FROM merges") == []
    assert await profiles.history() == ["e1"]


async def test_a_late_one_changes_nothing(profiles: Profiles) -> None:
    late = identifies("i1", anonymous="a1")
    late.occur_time.FromDatetime(profiles.clock.now().replace(month=9))

    await profiles.observe(a_record("1", late))

    assert list((await get(profiles, "ana")).member_ids) == []
    assert await profiles.history() == ["i1"]


async def test_receipts_and_news_are_counted_and_nobody_is_seen_by_them(
    profiles: Profiles,
) -> None:
    await profiles.observe(
        a_record("1", an_event("e1", kind="message_sent"), an_event("e2", kind="profile_merged"))
    )

    standing = await profiles.standing()
    assert (standing.first_seen_time_us, standing.last_seen_time_us) == (0, 0)
    assert await profiles.count("message_sent") == 1


async def test_two_who_claim_one_device_at_once_do_not_become_one(profiles: Profiles) -> None:
    await profiles.observe(a_record("0", an_event("e0", profile="tablet")))

    await asyncio.gather(
        *(
            profiles.observe(
                a_record("1", identifies(f"i-{who}", profile=who, anonymous="tablet"), partition=at)
            )
            for at, who in enumerate(("ana", "ben", "cem"))
        )
    )

    owner = (await get(profiles, "tablet")).name
    sizes = {who: len((await get(profiles, who)).member_ids) for who in ("ana", "ben", "cem")}
    assert sorted(sizes.values()) == [0, 0, 2]
    assert sizes[owner.rpartition("/")[2]] == 2
    states = sorted(row[0] for row in await profiles.fetch("SELECT state FROM merges"))
    assert states == [LIVE, REFUSED, REFUSED]


async def test_a_crash_while_uniting_leaves_nothing_behind(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await profiles.observe(a_record("1", an_event("e1", profile="a1"), an_event("e2")))
    before = await profiles.fetch("SELECT * FROM profiles ORDER BY profile_id")
    real = Turn.remember

    async def crash(turn: Turn, answers: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Turn, "remember", crash)
    record = a_record("2", identifies("i1", anonymous="a1"), an_event("e3", profile="a1"))
    with pytest.raises(RuntimeError):
        await profiles.observe(record)
    monkeypatch.setattr(Turn, "remember", real)

    assert await profiles.fetch("SELECT * FROM profiles ORDER BY profile_id") == before
    for table in ("contributions", "merges", "derived_events"):
        assert await profiles.fetch(f"SELECT FROM {table}") == []
    await profiles.observe(record)
    assert await profiles.count(profile="a1") == 3


async def test_an_event_waits_in_the_quarantine_for_a_state_that_is_not_there(
    profiles: Profiles,
) -> None:
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2", profile="a1")))
    token = (await get(profiles, "ana")).consistency_token
    good, bad, odd = an_event("t1"), an_event("t2"), an_event("t3")
    good.consistency_token, odd.consistency_token = token, "odd"
    await profiles.fetch("UPDATE profiles SET version = version - 1 WHERE profile_id = 'ana'")
    bad.consistency_token = token

    answer = await profiles.observe(a_record("2", bad, odd))
    assert [one.message for one in answer.failed_events.values()] != []
    assert sorted(answer.failed_events) == [0, 1]
    await profiles.fetch("UPDATE profiles SET version = version + 1 WHERE profile_id = 'ana'")

    assert not (await profiles.observe(a_record("3", good))).failed_events
    made = await merge(profiles, "ana", "a1")
    good.event_id = "t4"
    assert not (await profiles.observe(a_record("4", good))).failed_events
    await unmerge(profiles, made)
    good.event_id = "t5"
    assert not (await profiles.observe(a_record("5", good))).failed_events


async def test_events_of_all_ids_are_found_by_type_and_time(profiles: Profiles) -> None:
    await profiles.observe(
        a_record(
            "1",
            an_event("e1", profile="a1", properties={"worth": 7}),
            an_event("e2", kind="product_viewed"),
            an_event("e3"),
            identifies("i1", anonymous="a1"),
        )
    )
    since = profiles.clock.now()

    def query(
        profile: str, types: list[str], since_us: int = 0
    ) -> observation_pb.BatchFindEventsRequest.Query:
        return observation_pb.BatchFindEventsRequest.Query(
            profile=named(profile), types=types, since_time_us=since_us
        )

    request = observation_pb.BatchFindEventsRequest(
        queries=[
            query("ana", ["order_placed"]),
            query("a1", ["product_viewed", "identify"]),
            query("ana", ["order_placed"], int(since.timestamp() * 1e6) + 1),
            query("nobody", ["order_placed"]),
        ]
    )
    found = (await profiles.servicer.BatchFindEvents(request, None)).found

    assert [[one.event_id for one in each.events] for each in found] == [
        ["e1", "e3"],
        ["e2", "i1"],
        [],
        [],
    ]
    assert found[0].events[0].profile_id == "a1"
    assert json.loads(found[0].events[0].properties_json) == {"worth": 7}


async def test_an_id_that_was_erased_is_not_claimed_back(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1", profile="a1")))
    await Forgetting(profiles).erase("a1")

    answer = await profiles.observe(
        a_record("2", identifies("i1", anonymous="a1"), an_event("e2", profile="a1"))
    )

    assert list(answer.erased_events) == [1]
    assert list((await get(profiles, "ana")).member_ids) == []
    assert await profiles.fetch("SELECT FROM profiles WHERE profile_id = 'a1'") == []


async def test_any_id_leads_to_the_devices_of_all(profiles: Profiles) -> None:
    for profile in ("ana", "a1"):
        request = device_pb.RegisterDeviceRequest(
            profile=named(profile),
            platform=device_pb.Device.PLATFORM_FCM,
            token=f"token-{profile}",
            app="shop",
        )
        await profiles.devices.RegisterDevice(request, None)
    made = await merge(profiles, "a1", "ana")

    async def tokens(profile: str) -> list[str]:
        asked = observation_pb.BatchGetAddressesRequest(profiles=[named(profile)])
        (found,) = (await profiles.servicer.BatchGetAddresses(asked, None)).addresses
        return sorted(one.token for one in found.devices)

    assert await tokens("a1") == await tokens("ana") == ["token-a1", "token-ana"]
    await unmerge(profiles, made)
    assert await tokens("a1") == ["token-a1"]
