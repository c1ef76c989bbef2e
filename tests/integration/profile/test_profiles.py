"""Makes sure that profiles are shown, listed and changed as asked, and that no change is lost."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import profile_service_pb2 as pb
from beckon.type.v1.channel_pb2 import Channel
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict

from mesh.errors import Aborted, InvalidArgument, NotFound, Unavailable
from services.profile.convert.listings import listing
from services.profile.store import NEWEST
from services.profile.store import Profiles as Store
from services.profile.store.profiles import _HISTORY
from tests.integration.profile.world import MICROSECOND, NOW, Profiles, a_record, an_event

ANA = "workspaces/acme/profiles/ana"
MILLISECOND = timedelta(milliseconds=1)


def a_profile(name: str = ANA, etag: str = "", /, **fields: object) -> pb.Profile:
    profile = pb.Profile(name=name, etag=etag)
    attributes = fields.pop("attributes", {})
    assert isinstance(attributes, dict)
    if attributes:
        profile.attributes.update(attributes)
    for field, value in fields.items():
        setattr(profile, field, value)
    return profile


async def update(
    profiles: Profiles, profile: pb.Profile, *paths: str, allow_missing: bool = True
) -> pb.Profile:
    request = pb.UpdateProfileRequest(
        profile=profile, update_mask=FieldMask(paths=paths), allow_missing=allow_missing
    )
    return await profiles.profiles.UpdateProfile(request, None)


async def get(profiles: Profiles, name: str = ANA) -> pb.Profile:
    return await profiles.profiles.GetProfile(pb.GetProfileRequest(name=name), None)


async def test_a_profile_shows_all_that_is_known(profiles: Profiles) -> None:
    earlier = NOW - timedelta(hours=1)
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2", occurred=earlier)))

    ana = await update(
        profiles,
        a_profile(
            attributes={"tier": "gold", "children": 2, "likes": ["a", {"b": None}], "vip": True},
            email="ana@example.com",
            phone="+4917012345",
            time_zone="Europe/Berlin",
            locale="de-DE",
        ),
    )

    assert ana == await get(profiles)
    assert dict(ana.attributes)["children"] == 2
    assert (ana.email, ana.phone, ana.time_zone, ana.locale) == (
        "ana@example.com",
        "+4917012345",
        "Europe/Berlin",
        "de-DE",
    )
    assert ana.counters["order_placed"].count == 2
    assert ana.counters["order_placed"].first_time.ToDatetime(NOW.tzinfo) == earlier
    assert ana.first_seen_time.ToDatetime(NOW.tzinfo) == earlier
    assert ana.last_seen_time.ToDatetime(NOW.tzinfo) == NOW
    assert ana.create_time.ToDatetime(NOW.tzinfo) == NOW


async def test_a_profile_without_events_was_never_seen(profiles: Profiles) -> None:
    ana = await update(profiles, a_profile(email="ana@example.com"))

    assert not ana.HasField("first_seen_time")
    assert (await profiles.standing()).last_seen_time_us == 0


async def test_an_unknown_profile_is_named(profiles: Profiles) -> None:
    with pytest.raises(NotFound) as refused:
        await get(profiles)

    assert refused.value.metadata == {"resourceName": ANA}


async def test_an_update_creates_only_when_it_may(profiles: Profiles) -> None:
    with pytest.raises(NotFound):
        await update(profiles, a_profile(email="ana@example.com"), allow_missing=False)

    await update(profiles, a_profile())
    assert (await update(profiles, a_profile(locale="de"), allow_missing=False)).locale == "de"


async def test_a_mask_changes_what_it_names_and_nothing_else(profiles: Profiles) -> None:
    await update(profiles, a_profile(attributes={"a": 1, "b": 2, "c": 3}, email="a@b.c"))

    ana = await update(
        profiles,
        a_profile(attributes={"a": 10, "b": 20}, locale="de"),
        "attributes.a",
        "attributes.c",
    )

    assert dict(ana.attributes) == {"a": 10, "b": 2}
    assert (ana.email, ana.locale) == ("a@b.c", "")


async def test_attributes_in_a_mask_replace_all(profiles: Profiles) -> None:
    await update(profiles, a_profile(attributes={"a": 1, "b": 2}))

    ana = await update(profiles, a_profile(attributes={"c": 3}), "attributes")

    assert dict(ana.attributes) == {"c": 3}


async def test_without_a_mask_the_populated_fields_count(profiles: Profiles) -> None:
    await update(profiles, a_profile(attributes={"a": 1}, email="a@b.c"))

    ana = await update(profiles, a_profile(locale="de"))

    assert (dict(ana.attributes), ana.email, ana.locale) == ({"a": 1}, "a@b.c", "de")


async def test_a_star_replaces_everything(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event()))
    await update(profiles, a_profile(attributes={"a": 1}, email="a@b.c"))

    ana = await update(profiles, a_profile(locale="de"), "*")

    assert (dict(ana.attributes), ana.email, ana.locale) == ({}, "", "de")
    assert ana.counters["order_placed"].count == 1


async def test_a_null_attribute_is_none(profiles: Profiles) -> None:
    await update(profiles, a_profile(attributes={"a": 1, "b": 2}))

    ana = await update(profiles, a_profile(attributes={"a": None}), "attributes.a")

    assert dict(ana.attributes) == {"b": 2}


@pytest.mark.parametrize(
    "path",
    ["nonsense", "counters", "etag", "create_time", "attributes.a.b", "attributes.", "email.x"],
)
async def test_a_path_that_cannot_be_written_is_refused(profiles: Profiles, path: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await update(profiles, a_profile(email="a@b.c"), "email", path)

    assert refused.value.violations[0].field == "update_mask"


async def test_what_is_not_touched_keeps_its_exact_text(profiles: Profiles) -> None:
    """Through a Struct the number would lose its last digits."""
    long = b'{"id": 12345678901234567890, "price": 1.10}'
    await profiles.observe(a_record("1", an_event(kind="profile_updated", properties=long)))

    await update(profiles, a_profile(attributes={"tier": 1}), "attributes.tier")

    assert (await profiles.standing()).attributes_json == (
        b'{"id": 12345678901234567890, "tier": 1, "price": 1.10}'
    )


async def test_a_number_beyond_a_double_is_shown_as_text(profiles: Profiles) -> None:
    huge = b'{"n": 1e400}'
    await profiles.observe(a_record("1", an_event(kind="profile_updated", properties=huge)))

    assert (await get(profiles)).attributes["n"] == "1" + "0" * 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "localtime"),
        ("email", "ana"),
        ("phone", "123"),
        ("locale", "??"),
        ("attributes", {"a": "\0"}),
        ("attributes", {"\0": 1}),
        ("attributes", {"": 1}),
        ("attributes", {"a": float("inf")}),
        ("attributes", {"a": "x" * 70_000}),
        ("attributes", {f"k{at}": at for at in range(257)}),
    ],
    ids=range(11),
)
async def test_a_bad_value_is_refused_by_its_field(
    profiles: Profiles, field: str, value: object
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await update(profiles, a_profile(ANA, "", **{field: value}))

    assert refused.value.violations[0].field.startswith(f"profile.{field}")
    with pytest.raises(NotFound):
        await get(profiles)


async def test_attributes_nest_32_deep_and_no_deeper(profiles: Profiles) -> None:
    def nested(depth: int) -> dict[str, object]:
        value: object = 1
        for _ in range(depth):
            value = [value]
        return {"a": value}

    await update(profiles, a_profile(attributes=nested(31)))
    with pytest.raises(InvalidArgument):
        await update(profiles, a_profile(attributes=nested(32)))


async def test_an_etag_that_is_not_current_is_refused(profiles: Profiles) -> None:
    read = await update(profiles, a_profile(email="a@b.c"))
    await profiles.observe(a_record("1", an_event()))

    with pytest.raises(Aborted) as refused:
        await update(profiles, a_profile(ANA, read.etag, locale="de"), "locale")

    assert refused.value.reason == ErrorReason.ERROR_REASON_ETAG_MISMATCH
    current = await get(profiles)
    assert current.etag != read.etag
    assert (await update(profiles, a_profile(ANA, current.etag, locale="de"))).locale == "de"


async def test_an_etag_of_a_profile_that_is_not_there_is_refused(profiles: Profiles) -> None:
    with pytest.raises(Aborted):
        await update(profiles, a_profile(ANA, "3", locale="de"))


async def test_an_update_repeated_after_a_lost_reply_succeeds(profiles: Profiles) -> None:
    read = await update(profiles, a_profile(email="a@b.c"))
    first = await update(profiles, a_profile(ANA, read.etag, locale="de"), "locale")

    again = await update(profiles, a_profile(ANA, read.etag, locale="de"), "locale")

    assert again == first


async def test_updates_and_events_at_once_lose_nothing(profiles: Profiles) -> None:
    async def events() -> None:
        for at in range(25):
            change = an_event(f"c{at}", kind="profile_updated", properties={f"event_{at}": at})
            await profiles.observe(a_record(str(at), an_event(f"e{at}"), change))

    async def updates(who: int) -> None:
        for at in range(25):
            key = f"update_{who}_{at}"
            await update(profiles, a_profile(attributes={key: at}), f"attributes.{key}")

    await asyncio.gather(events(), updates(1), updates(2))

    ana = await get(profiles)
    assert len(ana.attributes) == 75
    assert ana.counters["order_placed"].count == 25
    assert int(ana.etag) == 75


async def test_many_creating_one_profile_make_one(profiles: Profiles) -> None:
    async def create(at: int) -> None:
        await update(profiles, a_profile(attributes={f"k{at}": 1}), f"attributes.k{at}")

    await asyncio.gather(*map(create, range(6)), profiles.observe(a_record("1", an_event())))

    ana = await get(profiles)
    assert len(ana.attributes) == 6
    assert ana.counters["order_placed"].count == 1


async def test_a_batch_comes_in_the_order_asked_or_not_at_all(profiles: Profiles) -> None:
    names = [f"workspaces/acme/profiles/{one}" for one in ("c", "a", "b", "a")]
    for name in names:
        await update(profiles, a_profile(name, locale="de"))

    async def batch(*asked: str) -> list[str]:
        request = pb.BatchGetProfilesRequest(parent="workspaces/acme", names=asked)
        answer = await profiles.profiles.BatchGetProfiles(request, None)
        return [one.name for one in answer.profiles]

    assert await batch(*names) == names
    with pytest.raises(NotFound):
        await batch(*names, "workspaces/acme/profiles/z")
    with pytest.raises(InvalidArgument):
        await batch("workspaces/bolt/profiles/a")


async def test_pages_show_every_profile_of_the_workspace_once(profiles: Profiles) -> None:
    expected = [f"workspaces/acme/profiles/{one}" for one in ["+", "A", "B.b", "a", "b", "~"]]
    for name in [*expected, "workspaces/acmf/profiles/a", "workspaces/bolt/profiles/a"]:
        await update(profiles, a_profile(name))

    found, sizes, token = [], [], ""
    while True:
        request = pb.ListProfilesRequest(parent="workspaces/acme", page_size=4, page_token=token)
        page = await profiles.profiles.ListProfiles(request, None)
        found += [one.name for one in page.profiles]
        sizes.append(len(page.profiles))
        token = page.next_page_token
        if not token:
            break

    assert found == expected
    assert sizes == [4, 2]


async def test_a_page_token_is_good_for_its_own_request_only(profiles: Profiles) -> None:
    for one in "abc":
        await update(profiles, a_profile(f"workspaces/acme/profiles/{one}"))
    request = pb.ListProfilesRequest(parent="workspaces/acme", page_size=1)
    token = (await profiles.profiles.ListProfiles(request, None)).next_page_token

    for bad in (
        pb.ListProfilesRequest(parent="workspaces/bolt", page_token=token),
        pb.ListProfilesRequest(parent="workspaces/acme", page_token=token[:-2]),
        pb.ListProfilesRequest(parent="workspaces/acme", page_token="nonsense"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await profiles.profiles.ListProfiles(bad, None)
        assert refused.value.reason == ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID


async def listed(
    profiles: Profiles, *, order_by: str = "", where: str = "", size: int = 2
) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListProfilesRequest(
            parent="workspaces/acme",
            page_size=size,
            page_token=token,
            order_by=order_by,
            filter=where,
        )
        page = await profiles.profiles.ListProfiles(request, None)
        assert len(page.profiles) <= size
        found += [one.name.rpartition("/")[2] for one in page.profiles]
        token = page.next_page_token
        if not token:
            return found


async def test_profiles_are_listed_in_the_order_asked(profiles: Profiles) -> None:
    for at, one in enumerate(["c", "a", "b"]):
        await update(profiles, a_profile(f"workspaces/acme/profiles/{one}"))
        seen = an_event(f"e{at}", profile=one, occurred=NOW - timedelta(hours=at % 2))
        await profiles.observe(a_record(str(at), seen))
        profiles.clock.advance(timedelta(seconds=1))
    await update(profiles, a_profile("workspaces/acme/profiles/d"))
    await update(profiles, a_profile("workspaces/acme/profiles/c", locale="de"))

    assert await listed(profiles) == ["a", "b", "c", "d"]
    assert await listed(profiles, order_by="name desc") == ["d", "c", "b", "a"]
    assert await listed(profiles, order_by="create_time") == ["c", "a", "b", "d"]
    assert await listed(profiles, order_by="create_time desc", size=1) == ["d", "b", "a", "c"]
    assert await listed(profiles, order_by="update_time", size=1) == ["a", "b", "c", "d"]
    assert await listed(profiles, order_by="last_seen_time", size=1) == ["d", "a", "b", "c"]
    assert await listed(profiles, order_by="last_seen_time desc") == ["c", "b", "a", "d"]


@pytest.mark.parametrize("order_by", ["nonsense", "name asc", "name, create_time", "desc"])
async def test_an_order_that_is_none_is_refused(profiles: Profiles, order_by: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await listed(profiles, order_by=order_by)

    assert refused.value.violations[0].field == "order_by"


async def test_a_filter_chooses_who_is_listed(profiles: Profiles) -> None:
    for at, one in enumerate("abcdef"):
        tier = {"tier": "gold" if at % 2 else "blue", "n": at}
        name = f"workspaces/acme/profiles/{one}"
        await update(profiles, a_profile(name, attributes=tier, email=f"{one}@example.com"))
    await update(profiles, a_profile("workspaces/bolt/profiles/z", attributes={"tier": "gold"}))
    gold = 'profile.attributes.tier == "gold"'

    assert await listed(profiles, where=gold) == ["b", "d", "f"]
    assert await listed(profiles, where=gold, order_by="name desc", size=1) == ["f", "d", "b"]
    both = f"{gold} && profile.attributes.n > 1"
    assert await listed(profiles, where=both, order_by="create_time") == ["d", "f"]
    with pytest.raises(InvalidArgument) as refused:
        await listed(profiles, where="profile.attributes.tier ==")
    assert refused.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_INVALID


async def test_a_profile_that_is_behind_its_token_is_not_shown(profiles: Profiles) -> None:
    first = await update(profiles, a_profile(attributes={"a": 1}))
    second = await update(profiles, a_profile(attributes={"a": 2}))
    # As after a restore from a backup.
    await profiles.fetch("UPDATE profiles SET version = 1")

    async def read(*tokens: str) -> None:
        request = pb.BatchGetProfilesRequest(
            parent="workspaces/acme", names=[ANA], consistency_tokens=tokens
        )
        await profiles.profiles.BatchGetProfiles(request, None)
        for token in tokens:
            one = pb.GetProfileRequest(name=ANA, consistency_token=token)
            await profiles.profiles.GetProfile(one, None)

    await read("", first.consistency_token)
    for tokens in (
        (second.consistency_token,),
        (first.consistency_token, second.consistency_token),
    ):
        with pytest.raises(Unavailable):
            await read(*tokens)
    await profiles.fetch("DELETE FROM profiles")
    with pytest.raises(Unavailable):
        await read(first.consistency_token)


@pytest.mark.parametrize("token", ["nonsense", "A" * 27, "ü" * 27, "A" * 128])
async def test_a_token_of_somebody_elses_making_is_refused(profiles: Profiles, token: str) -> None:
    await update(profiles, a_profile())

    with pytest.raises(InvalidArgument) as refused:
        await profiles.profiles.GetProfile(
            pb.GetProfileRequest(name=ANA, consistency_token=token), None
        )

    assert refused.value.violations[0].field == "consistency_token"


async def test_a_profile_says_how_it_can_be_reached(profiles: Profiles) -> None:
    ana = await update(profiles, a_profile(email="ana@example.com"))

    reach = {one.channel: (one.reachable, one.reason) for one in ana.reach}
    assert reach == {
        Channel.CHANNEL_EMAIL: (True, ""),
        Channel.CHANNEL_SMS: (False, "no address"),
        Channel.CHANNEL_PUSH: (False, "no device"),
    }


async def history(profiles: Profiles, size: int, kind: str = "") -> list[list[str]]:
    pages, token = [], ""
    while True:
        request = pb.ListProfileEventsRequest(
            parent=ANA, page_size=size, page_token=token, type=kind
        )
        page = await profiles.profiles.ListProfileEvents(request, None)
        pages.append([one.event_id for one in page.events])
        token = page.next_page_token
        if not token:
            return pages


async def test_history_comes_newest_first_over_days_and_pages(profiles: Profiles) -> None:
    for day in range(4):
        received = NOW + timedelta(days=day)
        kinds = ["order_placed", "product_viewed", "order_placed"]
        events = [an_event(f"e{day}{at}", kind=kind) for at, kind in enumerate(kinds)]
        other = an_event(f"other{day}", profile="ben")
        await profiles.observe(a_record(str(day), *events, other, received=received))

    every = ["e32", "e31", "e30", "e22", "e21", "e20", "e12", "e11", "e10", "e02", "e01", "e00"]
    assert await history(profiles, 5) == [every[:5], every[5:10], every[10:]]
    assert await history(profiles, 12) == [every]
    assert await history(profiles, 1) == [[one] for one in every]
    assert await history(profiles, 50, "product_viewed") == [["e31", "e21", "e11", "e01"]]
    assert await history(profiles, 50, "nothing_such") == [[]]


async def test_an_event_is_shown_as_it_was_told(profiles: Profiles) -> None:
    occurred = NOW - timedelta(hours=2)
    event = an_event(occurred=occurred, properties={"total": 12.5, "items": [{"sku": "a"}]})
    await profiles.observe(a_record("1", event))

    request = pb.ListProfileEventsRequest(parent=ANA)
    shown = (await profiles.profiles.ListProfileEvents(request, None)).events[0]

    assert (shown.event_id, shown.type) == ("e1", "order_placed")
    assert shown.occur_time.ToDatetime(NOW.tzinfo) == occurred
    assert shown.receive_time.ToDatetime(NOW.tzinfo) == NOW
    assert MessageToDict(shown.properties) == {"total": 12.5, "items": [{"sku": "a"}]}


async def test_nobody_has_no_history(profiles: Profiles) -> None:
    assert await history(profiles, 10) == [[]]


async def test_who_asks_for_few_among_too_many_is_told(profiles: Profiles) -> None:
    await profiles.fetch(
        "INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time)"
        " SELECT 'acme', 'p' || n, 0, now(), now() FROM generate_series(1, 20000) AS n"
    )
    store = Store(profiles.database, profiles.definitions, profiles.types, longest=MILLISECOND)
    request = pb.ListProfilesRequest(
        parent="workspaces/acme", filter='profile.id.matches("x[0-9]+y")'
    )

    with pytest.raises(InvalidArgument) as refused:
        await store.page(listing(request, 0), None, limit=10)

    assert refused.value.reason == ErrorReason.ERROR_REASON_EXPRESSION_TOO_COSTLY
    assert refused.value.metadata["expression"] == request.filter


def rows_read(plan: dict[str, Any]) -> Iterator[float]:
    """Yield how many rows each step of a plan has returned."""
    yield plan["Actual Rows"] * plan["Actual Loops"]
    for one in plan.get("Plans", ()):
        yield from rows_read(one)


async def test_a_page_of_a_long_history_reads_no_more_than_it_shows(profiles: Profiles) -> None:
    # One by one: they differ in when they were received, by which they are listed.
    records = [
        a_record(str(at), an_event(f"e{at}"), received=NOW + at * MICROSECOND) for at in range(400)
    ]
    await profiles.observe(*records)

    rows = await profiles.fetch(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {_HISTORY}", "acme", ["ana"], "", *NEWEST, 11
    )

    # Sorting takes in some dozens at a time.
    assert max(rows_read(json.loads(rows[0][0])[0]["Plan"])) < 100


async def test_a_type_that_can_be_none_is_refused(profiles: Profiles) -> None:
    request = pb.ListProfileEventsRequest(parent=ANA, type="order\0placed")

    with pytest.raises(InvalidArgument):
        await profiles.profiles.ListProfileEvents(request, None)
