"""Makes sure that caps can be kept, and that a change holds at once."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from beckon.throttle.v1 import frequency_cap_service_pb2 as pb
from beckon.throttle.v1 import frequency_cap_service_pb2_grpc as rpc
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.errors import metadata_of, reason_of, violations_of
from mesh.settings import ServerSettings
from tests.integration.throttle.world import DAY, PUSH, WEBHOOK, WEEK, FakeClock, Throttle, running
from tests.waiting import eventually


async def refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def a_channel_of_tomorrow(cap: pb.FrequencyCap) -> pb.FrequencyCap:
    setattr(cap, "channel", 77)  # noqa: B010 — no number that mypy would take
    return cap


async def test_a_cap_comes_back_as_it_was_made(throttle: Throttle) -> None:
    made = await throttle.cap("hourly", 3, rolling=timedelta(hours=1), channel=WEBHOOK, defer=True)

    got = await throttle.caps_stub.GetFrequencyCap(pb.GetFrequencyCapRequest(name=made.name))

    assert got == made
    assert got.rolling.seconds == 3600
    assert got.channel == WEBHOOK
    assert got.on_breach == pb.FrequencyCap.ON_BREACH_DEFER
    assert got.update_time.ToSeconds() == throttle.clock.now().timestamp()


async def test_caps_are_listed_by_id_page_by_page(throttle: Throttle) -> None:
    for cap_id in ("c", "a", "b"):
        await throttle.cap(cap_id, 1, calendar=DAY)
    request = pb.ListFrequencyCapsRequest(parent=f"workspaces/{throttle.workspace}", page_size=2)

    first = await throttle.caps_stub.ListFrequencyCaps(request)
    request.page_token = first.next_page_token
    second = await throttle.caps_stub.ListFrequencyCaps(request)

    names = [cap.name for page in (first, second) for cap in page.frequency_caps]
    assert names == [throttle.cap_name(cap_id) for cap_id in "abc"]
    assert second.next_page_token == ""


async def test_a_mask_changes_one_field_without_bringing_the_others(throttle: Throttle) -> None:
    made = await throttle.cap("daily", 3, calendar=DAY, defer=True)

    changed = await throttle.caps_stub.UpdateFrequencyCap(
        pb.UpdateFrequencyCapRequest(
            frequency_cap=pb.FrequencyCap(name=made.name, limit=5),
            update_mask=FieldMask(paths=["limit"]),
        )
    )

    assert changed.limit == 5
    assert changed.calendar == DAY
    assert changed.on_breach == pb.FrequencyCap.ON_BREACH_DEFER
    assert changed.etag != made.etag


async def test_a_window_gives_way_to_the_other_kind(throttle: Throttle) -> None:
    await throttle.cap("daily", 3, calendar=DAY)

    changed = await throttle.cap("daily", 3, rolling=timedelta(days=30))

    assert changed.WhichOneof("window") == "rolling"


async def test_an_old_etag_loses(throttle: Throttle) -> None:
    old = await throttle.cap("daily", 1, calendar=DAY)
    await throttle.cap("daily", 2, calendar=DAY)

    old.limit = 9
    error = await refused(
        throttle.caps_stub.UpdateFrequencyCap(pb.UpdateFrequencyCapRequest(frequency_cap=old))
    )

    assert error.code() is grpc.StatusCode.ABORTED
    assert reason_of(error) == "ETAG_MISMATCH"
    assert metadata_of(error) == {"resourceName": old.name}


async def test_the_etag_of_a_deleted_cap_is_not_that_of_its_successor(throttle: Throttle) -> None:
    first = await throttle.cap("daily", 1, calendar=DAY)
    await throttle.caps_stub.DeleteFrequencyCap(pb.DeleteFrequencyCapRequest(name=first.name))
    throttle.clock.advance(timedelta(microseconds=1))

    second = await throttle.cap("daily", 1, calendar=DAY)

    assert second.etag != first.etag


async def test_a_missing_cap_is_not_found(throttle: Throttle) -> None:
    name = throttle.cap_name("nowhere")
    stub = throttle.caps_stub
    cap = pb.FrequencyCap(name=name, limit=1, calendar=DAY)

    errors = [
        await refused(stub.GetFrequencyCap(pb.GetFrequencyCapRequest(name=name))),
        await refused(stub.DeleteFrequencyCap(pb.DeleteFrequencyCapRequest(name=name))),
        await refused(stub.UpdateFrequencyCap(pb.UpdateFrequencyCapRequest(frequency_cap=cap))),
    ]

    assert {error.code() for error in errors} == {grpc.StatusCode.NOT_FOUND}
    await stub.DeleteFrequencyCap(pb.DeleteFrequencyCapRequest(name=name, allow_missing=True))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (pb.FrequencyCap(limit=0, calendar=DAY), "frequency_cap.limit"),
        (pb.FrequencyCap(limit=1001, calendar=DAY), "frequency_cap.limit"),
        (pb.FrequencyCap(limit=1), "frequency_cap.window"),
        (a_channel_of_tomorrow(pb.FrequencyCap(limit=1, calendar=DAY)), "frequency_cap.channel"),
        (pb.FrequencyCap(limit=1, calendar=DAY, channel=PUSH), "frequency_cap.channel"),
    ],
)
async def test_a_bad_cap_is_refused_by_field(
    throttle: Throttle, change: pb.FrequencyCap, field: str
) -> None:
    change.name = throttle.cap_name("bad")

    error = await refused(
        throttle.caps_stub.UpdateFrequencyCap(
            pb.UpdateFrequencyCapRequest(frequency_cap=change, allow_missing=True)
        )
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in violations_of(error)] == [field]


@pytest.mark.parametrize("seconds", [0, 59, 2_592_001, 10**11])
async def test_a_window_nobody_can_count_is_refused(throttle: Throttle, seconds: int) -> None:
    cap = pb.FrequencyCap(name=throttle.cap_name("bad"), limit=1)
    cap.rolling.seconds = seconds

    error = await refused(
        throttle.caps_stub.UpdateFrequencyCap(
            pb.UpdateFrequencyCapRequest(frequency_cap=cap, allow_missing=True)
        )
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["Daily", "a" * 64, "a/b", "a\0b", ""])
async def test_a_cap_has_a_sane_name(throttle: Throttle, name: str) -> None:
    cap = pb.FrequencyCap(name=throttle.cap_name(name), limit=1, calendar=DAY)

    error = await refused(
        throttle.caps_stub.UpdateFrequencyCap(
            pb.UpdateFrequencyCapRequest(frequency_cap=cap, allow_missing=True)
        )
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations_of(error)[0].field == "frequency_cap.name"


async def test_a_workspace_has_at_most_twenty(throttle: Throttle) -> None:
    made = await asyncio.gather(
        *(throttle.cap(f"cap-{n}", 1, calendar=DAY) for n in range(25)), return_exceptions=True
    )

    errors = [one for one in made if isinstance(one, grpc.aio.AioRpcError)]
    assert len(errors) == 5
    assert {error.code() for error in errors} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert {reason_of(error) for error in errors} == {"STATE_FORBIDS"}


async def test_a_workspace_that_is_not_yours_is_closed(throttle: Throttle) -> None:
    stub = rpc.FrequencyCapServiceStub(throttle.acme_channel)
    cap = pb.FrequencyCap(name=throttle.cap_name("theirs"), limit=1, calendar=DAY)

    error = await refused(stub.UpdateFrequencyCap(pb.UpdateFrequencyCapRequest(frequency_cap=cap)))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_change_holds_for_the_next_reservation(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("weekly", 1, calendar=WEEK)
    before = await throttle.answers(throttle.send("ana", 1), throttle.send("ana", 2))

    await throttle.cap("weekly", 2, calendar=WEEK)
    raised = await throttle.answers(throttle.send("ana", 2), throttle.send("ana", 3))
    await throttle.caps_stub.DeleteFrequencyCap(
        pb.DeleteFrequencyCapRequest(name=throttle.cap_name("weekly"))
    )
    deleted = await throttle.answers(throttle.send("ana", 3))

    assert before == ["allow", "suppress"]
    assert raised == ["allow", "suppress"]
    assert deleted == ["allow"]


async def test_a_change_made_elsewhere_holds_within_a_second(
    postgres_url: str, redis_url: str, settings: ServerSettings
) -> None:
    mine, other = FakeClock(), FakeClock()
    async with (
        running(postgres_url, redis_url, settings, mine, "shared") as here,
        running(postgres_url, redis_url, settings, other, "shared") as there,
    ):
        await here.subscribe("ana")
        assert await here.answers(here.send("ana", 1)) == ["allow"]

        await there.cap("daily", 1, calendar=DAY)
        mine.advance(timedelta(seconds=1))

        assert await here.answers(here.send("ana", 2)) == ["suppress"]


async def test_a_change_made_elsewhere_is_heard_of(
    postgres_url: str, redis_url: str, settings: ServerSettings
) -> None:
    clock = FakeClock()
    async with (
        running(postgres_url, redis_url, settings, clock, "heard") as here,
        running(postgres_url, redis_url, settings, clock, "heard") as there,
    ):
        await here.caps.current(["heard"])

        # The clock stands: only the notification can make it forget.
        await there.cap("daily", 1, calendar=DAY)

        async def heard() -> bool:
            return bool((await here.caps.current(["heard"]))["heard"])

        await eventually(heard)
