"""Makes sure that what people did is written once, counted once and answered truly."""

from datetime import UTC, datetime, timedelta

import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.ingest.v1.event_pb2 import Event
from google.rpc.code_pb2 import ALREADY_EXISTS, INVALID_ARGUMENT
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from mesh.errors import InvalidArgument
from services.profile.rules import ATTRIBUTE_BYTES_MAX
from tests.integration.profile.world import NOW, Profiles, a_record, an_event, micros

ORDERS = ["order_placed"]


def reason(status: Status) -> tuple[str, dict[str, str]]:
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, dict(info.metadata)


def bad_field(status: Status) -> str:
    request = BadRequest()
    assert status.details[1].Unpack(request)
    return request.field_violations[0].field


async def test_an_event_brings_its_profile_into_being(profiles: Profiles) -> None:
    answer = await profiles.observe(a_record("1", an_event()), wanted=ORDERS)

    assert dict(answer.event_standings) == {0: 0}
    standing = answer.standings[0]
    assert [(one.type, one.count) for one in standing.counters] == [("order_placed", 1)]
    assert standing.first_seen_time_us == standing.last_seen_time_us == micros(NOW)
    assert await profiles.standing() == standing
    assert await profiles.history() == ["e1"]


async def test_each_event_is_answered_as_the_person_stood_just_after_it(
    profiles: Profiles,
) -> None:
    answer = await profiles.observe(
        a_record("1", an_event("e1"), an_event("e2", profile="ben"), an_event("e3")),
        a_record("1", an_event("e4"), partition=1),
        wanted=ORDERS,
    )

    counts = {
        at: answer.standings[index].counters[0].count
        for at, index in answer.event_standings.items()
    }
    assert counts == {0: 1, 1: 1, 2: 2, 3: 3}


async def test_standings_come_only_for_the_types_asked_for(profiles: Profiles) -> None:
    record = a_record("1", an_event("e1", kind="product_viewed"), an_event("e2"))

    answer = await profiles.observe(record, wanted=ORDERS)

    assert dict(answer.event_standings) == {1: 0}
    assert sorted(one.type for one in answer.standings[0].counters) == [*ORDERS, "product_viewed"]


async def test_profile_updated_sets_facts_and_keeps_addresses_to_itself(
    profiles: Profiles,
) -> None:
    change = {"email": "ana@example.com", "time_zone": "Asia/Kolkata", "locale": "en-IN", "tier": 2}
    event = an_event(kind="profile_updated", properties=change)

    answer = await profiles.observe(a_record("1", event), wanted=["profile_updated"])

    standing = answer.standings[0]
    assert (standing.attributes_json, standing.time_zone, standing.locale) == (
        b'{"tier": 2}',
        "Asia/Kolkata",
        "en-IN",
    )
    assert b"example.com" not in answer.SerializeToString()
    assert await profiles.addresses("ana", "nobody") == [("ana@example.com", ""), ("", "")]


async def test_a_later_null_unsets(profiles: Profiles) -> None:
    first = an_event("e1", kind="profile_updated", properties={"email": "a@b.c", "tier": 2, "x": 1})
    then = an_event("e2", kind="profile_updated", properties={"email": None, "tier": None})

    await profiles.observe(a_record("1", first))
    await profiles.observe(a_record("2", then))

    assert (await profiles.standing()).attributes_json == b'{"x": 1}'
    assert await profiles.addresses("ana") == [("", "")]


async def test_attributes_never_come_back_larger_than_they_may_be(profiles: Profiles) -> None:
    kept = b'{"a": [1e-16000, 1e-16000, 1e-16000]}'
    grown = b'{"b": [1e-16000, 1e-16000, 1e-16000]}'
    answer = await profiles.observe(
        a_record("1", an_event("e1", kind="profile_updated", properties=kept)),
        a_record("2", an_event("e2", kind="profile_updated", properties=grown)),
    )

    size = len((await profiles.standing()).attributes_json)
    assert list(answer.failed_events) == [1]
    assert 48_000 < size <= ATTRIBUTE_BYTES_MAX


async def test_a_bad_zone_sets_its_event_aside_alone(profiles: Profiles) -> None:
    bad = an_event("e2", kind="profile_updated", properties={"time_zone": "Mars/Olympus"})

    answer = await profiles.observe(a_record("1", an_event("e1"), bad), wanted=ORDERS)

    assert list(answer.event_standings) == [0]
    assert answer.failed_events[1].code == INVALID_ARGUMENT
    assert bad_field(answer.failed_events[1]) == "properties.time_zone"
    assert await profiles.history() == ["e1"]


async def test_people_of_different_workspaces_are_different_people(profiles: Profiles) -> None:
    await profiles.observe(
        a_record("1", an_event()),
        a_record("2", an_event(workspace="bolt"), workspace="bolt"),
    )

    assert await profiles.count() == 1
    assert (await profiles.standing(workspace="bolt")).counters[0].count == 1


async def test_an_event_of_a_foreign_workspace_is_set_aside(profiles: Profiles) -> None:
    record = a_record("1", an_event("e1", workspace="bolt"), an_event("e2"))

    answer = await profiles.observe(record)

    assert list(answer.failed_events) == [0]
    assert bad_field(answer.failed_events[0]) == "profile"
    assert await profiles.history() == ["e2"]


async def test_the_callers_clock_is_corrected(profiles: Profiles) -> None:
    event = an_event(occurred=NOW - timedelta(hours=3))

    await profiles.observe(a_record("1", event, offset=timedelta(hours=2)))

    assert (await profiles.standing()).last_seen_time_us == micros(NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    "event",
    [
        an_event(occurred=datetime(9999, 12, 31, tzinfo=UTC)),
        an_event(occurred=NOW + timedelta(days=1, microseconds=1)),
        an_event(occurred=datetime(1999, 12, 31, tzinfo=UTC)),
        an_event(kind=""),
        an_event(kind="Order Placed"),
        an_event(event_id=""),
        an_event(event_id="a/b"),
        an_event(event_id="a\0b"),
        an_event(event_id="e1\n"),
        an_event(profile=""),
        an_event(profile="a\0b"),
        an_event(profile="a/events/b"),
        an_event(properties=b"\xff{}"),
        an_event(properties=b"[1]"),
        an_event(properties=b"nonsense"),
        an_event(properties=b'{"a": 1'),
        an_event(properties=b'{"a": "\\ud800"}'),
        an_event(properties=b'{"a": "\\u0000"}'),
        an_event(properties=b'{"a\\u0000": 1}'),
        an_event(properties=b'{"a": "\0"}'),
        an_event(properties=b'{"a": NaN}'),
        an_event(properties=b'{"a": 1e999999}'),
        an_event(properties=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        an_event(kind="profile_updated", properties=b'{"a": 1e999999}'),
        an_event(kind="profile_updated", properties=b'{"\\ud800": 1}'),
        an_event(kind="profile_updated", properties=b'{"a": "\\u0000"}'),
    ],
)  # fmt: skip
async def test_what_cannot_be_kept_fails_alone_and_once(profiles: Profiles, event: Event) -> None:
    record = a_record("1", an_event("good"), event, an_event("fine", profile="ben"))

    answer = await profiles.observe(record, wanted=ORDERS)
    repeat = await profiles.observe(record, wanted=ORDERS)

    assert repeat == answer
    assert list(answer.failed_events) == [1]
    assert answer.failed_events[1].code == INVALID_ARGUMENT
    assert sorted(answer.event_standings) == [0, 2]
    assert await profiles.history() == ["fine", "good"]


async def test_a_struct_in_the_log_is_set_aside(profiles: Profiles) -> None:
    event = an_event()
    event.properties.update({"total": 1})

    answer = await profiles.observe(a_record("1", event))

    assert list(answer.failed_events) == [0]


@pytest.mark.parametrize("workspace", ["", "Acme", "a/b", "a\0", "a\n"])
async def test_a_record_of_no_workspace_is_set_aside_event_by_event(
    profiles: Profiles, workspace: str
) -> None:
    record = a_record("1", an_event("e1", workspace=workspace), an_event("e2"), workspace=workspace)

    answer = await profiles.observe(record, a_record("2", an_event("e3")))

    assert sorted(answer.failed_events) == [0, 1]
    assert await profiles.history() == ["e3"]


@pytest.mark.parametrize("receive_time_us", [0, -(2**63), 2**63 - 1, 253_402_300_800_000_000])
async def test_a_record_from_outside_the_calendar_is_set_aside(
    profiles: Profiles, receive_time_us: int
) -> None:
    record = a_record("1", an_event("e1"))
    record.record.receive_time_us = receive_time_us

    answer = await profiles.observe(record, a_record("2", an_event("e2")))

    assert list(answer.failed_events) == [0]
    assert await profiles.history() == ["e2"]


async def test_weeks_are_made_when_they_are_needed(profiles: Profiles) -> None:
    moments = [datetime(2025, 12, 1, tzinfo=UTC), NOW, datetime(9999, 12, 30, tzinfo=UTC)]

    answer = await profiles.observe(
        *(
            a_record(f"{at}", an_event(f"e{at}"), received=moment)
            for at, moment in enumerate(moments)
        )
    )

    assert not answer.failed_events
    rows = await profiles.fetch("SELECT tableoid::regclass::text AS week FROM history ORDER BY 1")
    assert [row["week"] for row in rows] == [
        "history_20251127",
        "history_20261119",
        "history_99991230",
    ]


async def test_midnight_belongs_to_the_week_that_begins(profiles: Profiles) -> None:
    midnight = datetime(2026, 11, 26, tzinfo=UTC)
    before = a_record("1", an_event("e1"), received=midnight - timedelta(microseconds=1))

    await profiles.observe(before, a_record("2", an_event("e2"), received=midnight))

    rows = await profiles.fetch("SELECT tableoid::regclass::text AS week FROM history ORDER BY 1")
    assert [row["week"] for row in rows] == ["history_20261119", "history_20261126"]


async def test_a_week_that_was_dropped_meanwhile_is_made_again(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event("e1")))
    await profiles.fetch("DROP TABLE history_20261119")

    await profiles.observe(a_record("2", an_event("e2")))

    assert await profiles.history() == ["e2"]


async def test_a_late_event_is_in_the_history_and_nowhere_else(profiles: Profiles) -> None:
    late = an_event("e1", occurred=NOW - timedelta(days=30, microseconds=1))
    just = an_event("e2", occurred=NOW - timedelta(days=30))

    answer = await profiles.observe(a_record("1", late, just), wanted=ORDERS)

    assert len(answer.standings[0].counters) == 0
    assert await profiles.count() == 1
    assert await profiles.history() == ["e1", "e2"]


async def test_an_empty_record_and_an_empty_call_are_harmless(profiles: Profiles) -> None:
    assert not (await profiles.observe()).ByteSize()
    assert not (await profiles.observe(a_record("1"))).ByteSize()


async def test_a_call_over_its_limits_is_refused_whole(profiles: Profiles) -> None:
    records = [a_record(str(at), an_event()) for at in range(1001)]
    with pytest.raises(InvalidArgument) as too_many_records:
        await profiles.observe(*records)
    with pytest.raises(InvalidArgument) as too_many_events:
        await profiles.observe(a_record("1", *[an_event()] * 4001))

    for refused, limit in ((too_many_records, "1000"), (too_many_events, "4000")):
        assert refused.value.reason == ErrorReason.ERROR_REASON_BATCH_TOO_LARGE
        assert refused.value.metadata["limit"] == limit


@pytest.mark.parametrize("position", ["", "\0", "x" * 129])
async def test_a_record_without_a_place_is_refused(profiles: Profiles, position: str) -> None:
    with pytest.raises(InvalidArgument):
        await profiles.observe(a_record(position, an_event()))


async def test_the_largest_call_passes(profiles: Profiles) -> None:
    records = [
        a_record(f"{at}", *(an_event(f"e{at}-{n}", profile=f"p{at * n}") for n in range(40)))
        for at in range(100)
    ]

    answer = await profiles.observe(*records, wanted=ORDERS)

    assert len(answer.event_standings) == 4000
    assert len(await profiles.history()) == 4000


async def test_reusing_an_id_is_told_with_the_id(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event()))

    answer = await profiles.observe(a_record("2", an_event(profile="ben")))

    assert answer.failed_events[0].code == ALREADY_EXISTS
    assert reason(answer.failed_events[0]) == ("EVENT_ID_REUSED", {"eventId": "e1"})
    assert await profiles.history() == ["e1"]
