"""Makes sure that traits follow events and time, and are the same whoever reckoned them when."""

import json
from datetime import timedelta

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import trait_service_pb2 as pb

from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, MeshError, NotFound
from services.profile.store.traits import erase
from tests.integration.profile.reckoning import (
    DAY,
    SUM,
    a_trait,
    declare,
    delete,
    get,
    keep,
    kept,
    told,
)
from tests.integration.profile.segmenting import Segments
from tests.integration.profile.world import NOW, Profiles, a_record, an_event

ANY_STATE = "SELECT FROM trait_states WHERE trait_id = 'orders'"
VERSION = "SELECT version FROM profiles"


async def test_events_count_as_they_come(profiles: Profiles) -> None:
    await declare(profiles, a_trait())
    await declare(profiles, a_trait("spent", aggregate=SUM, key="value"))

    await profiles.observe(
        a_record("1", an_event("e1", properties={"value": 19.99}), an_event("e2", kind="other")),
        a_record("2", an_event("e3", properties={"value": 0.01}), an_event("e4")),
    )

    assert await kept(profiles) == {"orders": 3, "spent": 20}
    assert await told(profiles) == {"orders": 3, "spent": 20}


async def test_each_event_is_told_the_values_just_after_it(profiles: Profiles) -> None:
    await declare(profiles, a_trait())
    await declare(profiles, a_trait("spent", aggregate=SUM, key="value"))

    answer = await profiles.observe(
        a_record(
            "1",
            an_event("e1", properties={"value": 1}),
            an_event("e2", kind="product_viewed"),
            an_event("e3"),
            an_event("e4", profile="ben"),
        ),
        a_record("2", an_event("e5", properties={"value": 2})),
        wanted=["order_placed", "product_viewed"],
    )

    said = [
        json.loads(answer.standings[answer.event_standings[event]].traits_json)
        for event in range(5)
    ]
    assert said == [
        {"orders": 1, "spent": 1},
        {"orders": 1, "spent": 1},
        {"orders": 2, "spent": 1},
        {"orders": 1},
        {"orders": 3, "spent": 3},
    ]


async def test_an_event_counts_where_its_filter_holds(profiles: Profiles) -> None:
    await declare(profiles, a_trait(filter_="event.properties.value > 10"))

    await profiles.observe(
        a_record(
            "1",
            an_event("e1", properties={"value": 11}),
            an_event("e2", properties={"value": 9}),
            an_event("e3", properties={"value": "many"}),
            an_event("e4"),
        )
    )

    assert await kept(profiles) == {"orders": 1}


async def test_who_has_no_counting_event_has_no_value(profiles: Profiles) -> None:
    await declare(profiles, a_trait(aggregate=SUM, key="value"))

    await profiles.observe(a_record("1", an_event("e1")))

    assert await kept(profiles) == {}


async def test_a_repeat_counts_once(profiles: Profiles) -> None:
    await declare(profiles, a_trait())

    await profiles.observe(a_record("1", an_event("e1")))
    await profiles.observe(a_record("1", an_event("e1")))
    await profiles.observe(a_record("2", an_event("e1")))

    assert await kept(profiles) == {"orders": 1}


async def test_every_change_of_a_value_is_a_version(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    await profiles.observe(a_record("1", an_event("e1")))
    versions = [(await profiles.fetch(VERSION))[0][0]]

    for _ in range(2):
        profiles.clock.advance(2 * DAY)
        await keep(profiles)
        versions.append((await profiles.fetch(VERSION))[0][0])

    assert versions == [1, 2, 2]


# Time.


async def test_time_alone_changes_values(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY, compare=True))
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2", occurred=NOW - DAY / 2)))
    seen = [await kept(profiles)]

    for span in (DAY / 2 + timedelta(minutes=15), DAY / 2, DAY, DAY):
        profiles.clock.advance(span)
        await keep(profiles)
        seen.append(await kept(profiles))

    assert seen == [
        {"orders": 2, "orders_previous": 0},
        {"orders": 1, "orders_previous": 1},
        {"orders": 0, "orders_previous": 2},
        {"orders": 0, "orders_previous": 0},
        {"orders": 0, "orders_previous": 0},
    ]
    assert await profiles.fetch("SELECT * FROM trait_dues") == []


async def test_a_judgement_is_true_before_the_keeper_comes(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    await profiles.observe(a_record("1", an_event("e1")))

    profiles.clock.advance(2 * DAY)

    assert await kept(profiles) == {"orders": 1}
    assert await told(profiles) == {"orders": 0}


async def test_only_who_is_due_is_looked_at(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    for number in range(5):
        event = an_event(f"e{number}", profile=f"p{number}")
        await profiles.observe(a_record(str(number), event, received=profiles.clock.now()))
        profiles.clock.advance(timedelta(hours=1))
    profiles.clock.advance(timedelta(hours=21))

    await keep(profiles)

    values = [(await kept(profiles, f"p{number}"))["orders"] for number in range(5)]
    assert values == [0, 0, 1, 1, 1]


async def test_who_is_held_by_another_is_due_again(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    await profiles.observe(a_record("1", an_event("e1")))
    profiles.clock.advance(2 * DAY)

    async with profiles.database.transaction() as other:
        await other.execute("SELECT FROM profiles FOR NO KEY UPDATE")
        await profiles.trait_keeper.run_once()
        assert await kept(profiles) == {"orders": 1}
    await profiles.trait_keeper.run_once()

    assert await kept(profiles) == {"orders": 0}


async def test_who_moves_to_another_zone_has_another_day_at_once(profiles: Profiles) -> None:
    await declare(profiles, a_trait(calendar=pb.Trait.CALENDAR_DAY))
    # 22:00 of the day before, which in Tokyo is today.
    await profiles.observe(a_record("1", an_event("e1", occurred=NOW - timedelta(hours=14))))
    assert await kept(profiles) == {"orders": 0}

    moved = an_event("e2", kind="profile_updated", properties={"time_zone": "Asia/Tokyo"})
    await profiles.observe(a_record("2", moved))

    assert await kept(profiles) == {"orders": 1}
    profiles.clock.advance(timedelta(hours=3))
    await keep(profiles)
    assert await kept(profiles) == {"orders": 0}


async def test_a_streak_ends_by_time(profiles: Profiles) -> None:
    await declare(profiles, a_trait("days", aggregate=pb.Trait.AGGREGATE_STREAK))
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2", occurred=NOW - DAY)))
    seen = []

    for _ in range(3):
        await keep(profiles)
        seen.append((await kept(profiles))["days"])
        profiles.clock.advance(DAY)

    assert seen == [2, 2, 0]


# One person, many ids.


async def test_a_merge_adds_up(profiles: Profiles) -> None:
    await declare(profiles, a_trait())
    await declare(profiles, a_trait("days", aggregate=pb.Trait.AGGREGATE_LONGEST_STREAK))
    await profiles.observe(
        a_record("1", an_event("e1", profile="anon", occurred=NOW - DAY)),
        a_record("2", an_event("e2", profile="ana")),
    )

    united = an_event("e3", kind="identify", properties={"anonymous_id": "anon"})
    await profiles.observe(a_record("3", united, an_event("e4", profile="anon")))
    await profiles.observe(a_record("4", an_event("e5", profile="anon")))

    assert await kept(profiles) == {"orders": 4, "days": 2}
    assert await told(profiles, "anon") == {"orders": 4, "days": 2}


# Definitions.


async def test_a_trait_is_declared_once(profiles: Profiles) -> None:
    first = await declare(profiles, a_trait(rolling=DAY, compare=True))
    profiles.clock.advance(DAY)

    again = await declare(profiles, a_trait(rolling=DAY, compare=True))

    assert again == first == await get(profiles)
    assert first.state == pb.Trait.STATE_ACTIVE
    assert first.backfill_progress == 1
    with pytest.raises(AlreadyExists):
        await declare(profiles, a_trait(rolling=DAY))


@pytest.mark.parametrize(
    ("trait", "field"),
    [
        (a_trait(aggregate=SUM), "trait.property"),
        (a_trait(key="value"), "trait.property"),
        (a_trait(aggregate=pb.Trait.AGGREGATE_STREAK, rolling=DAY), "trait.rolling"),
        (
            a_trait(aggregate=pb.Trait.AGGREGATE_LONGEST_STREAK, calendar=pb.Trait.CALENDAR_DAY),
            "trait.calendar",
        ),
        (a_trait(compare=True), "trait.compare"),
        (a_trait(calendar=pb.Trait.CALENDAR_UNSPECIFIED), "trait.calendar"),
        (a_trait(rolling=timedelta(minutes=45)), "trait.rolling"),
        (a_trait(rolling=timedelta(days=31, minutes=15)), "trait.rolling"),
        (a_trait(rolling=timedelta(hours=1, minutes=1)), "trait.rolling"),
        (a_trait(rolling=-DAY), "trait.rolling"),
        (a_trait(filter_="event.properties.value >"), "trait.filter"),
        (a_trait(filter_="profile.locale == 'de'"), "trait.filter"),
        (a_trait(filter_="now > event.occur_time"), "trait.filter"),
        (a_trait(filter_="event.properties.value + 1"), "trait.filter"),
    ],
)
async def test_what_does_not_fit_is_named(profiles: Profiles, trait: pb.Trait, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await declare(profiles, trait)

    assert [one.field for one in refused.value.violations] == [field]


async def test_a_value_is_not_called_as_another_traits_window_before(profiles: Profiles) -> None:
    await declare(profiles, a_trait("orders_previous"))
    await declare(profiles, a_trait("visits", rolling=DAY, compare=True))

    for trait in (a_trait(rolling=DAY, compare=True), a_trait("visits_previous")):
        with pytest.raises(AlreadyExists):
            await declare(profiles, trait)


async def test_a_workspace_has_a_hundred_traits_at_most(profiles: Profiles) -> None:
    for number in range(100):
        await declare(profiles, a_trait(f"trait_{number}"))

    with pytest.raises(MeshError) as refused:
        await declare(profiles, a_trait())

    assert refused.value.reason == ErrorReason.ERROR_REASON_LIMIT_REACHED


async def test_traits_are_listed_by_pages(profiles: Profiles) -> None:
    for trait_id in ("c", "a", "b"):
        await declare(profiles, a_trait(trait_id))
    request = pb.ListTraitsRequest(parent="workspaces/acme", page_size=2)

    first = await profiles.traits.ListTraits(request, None)
    request.page_token = first.next_page_token
    second = await profiles.traits.ListTraits(request, None)

    names = [one.name.rpartition("/")[2] for one in (*first.traits, *second.traits)]
    assert names == ["a", "b", "c"]
    assert second.next_page_token == ""


async def test_a_deleted_trait_takes_its_values_along(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY, compare=True))
    await declare(profiles, a_trait("others"))
    for number in range(7):
        await profiles.observe(a_record(str(number), an_event(f"e{number}", profile=f"p{number}")))

    await delete(profiles)
    with pytest.raises(NotFound):
        await get(profiles)
    with pytest.raises(FailedPrecondition):
        await declare(profiles, a_trait())
    await keep(profiles)

    assert [await kept(profiles, f"p{number}") for number in range(7)] == [{"others": 1}] * 7
    assert await profiles.fetch(ANY_STATE) == []
    await declare(profiles, a_trait())


async def test_deleting_nothing_is_an_error_unless_allowed(profiles: Profiles) -> None:
    with pytest.raises(NotFound):
        await delete(profiles)

    await delete(profiles, allow_missing=True)


# Segments.


async def test_a_trait_that_a_segment_reads_is_kept(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY, compare=True))
    segments = Segments(profiles)
    await segments.create("fans", "profile.traits.orders_previous > 1")

    with pytest.raises(FailedPrecondition) as refused:
        await delete(profiles)

    assert refused.value.reason == ErrorReason.ERROR_REASON_STATE_FORBIDS
    assert (await get(profiles)).state == pb.Trait.STATE_ACTIVE


async def test_time_takes_people_out_of_segments(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    segments = Segments(profiles)
    await segments.made("fans", "profile.traits.orders > 0")
    await profiles.observe(a_record("1", an_event("e1")))

    profiles.clock.advance(2 * DAY)
    await keep(profiles)

    assert await segments.said() == [
        ("segment_entered", "ana", "fans"),
        ("segment_exited", "ana", "fans"),
    ]


async def test_a_backfill_lets_people_into_segments(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1")))
    await declare(profiles, a_trait(backfill=True))
    segments = Segments(profiles)
    await segments.made("fans", "profile.traits.orders > 0")

    await keep(profiles)

    assert await segments.members("fans") == ["ana"]


# Forgetting.


async def test_nothing_is_kept_of_who_is_erased(profiles: Profiles) -> None:
    await declare(profiles, a_trait(rolling=DAY))
    await profiles.observe(a_record("1", an_event("e1"), an_event("e2", profile="bob")))

    async with profiles.database.transaction() as db:
        erased = await erase(db, "acme", "ana")

    assert erased == {"traits": 1}
    rows = await profiles.fetch("SELECT person_id FROM trait_states")
    rows += await profiles.fetch("SELECT person_id FROM trait_dues")
    assert [row[0] for row in rows] == ["bob", "bob"]
