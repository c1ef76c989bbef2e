"""Makes sure that whatever a caller sends has a typed answer that names the field."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest
from beckon.throttle.v1 import throttle_service_pb2 as pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as rpc
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import metadata_of, reason_of, violations_of
from tests.integration.throttle.world import DAY, Throttle


async def refused(throttle: Throttle, *sends: pb.Send) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await throttle.reserve(*sends)
    return caught.value


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda send: send.ClearField("send_id"), "send_id"),
        (lambda send: setattr(send, "send_id", b"x" * 17), "send_id"),
        (lambda send: setattr(send, "profile", ""), "profile"),
        (lambda send: setattr(send, "profile", "workspaces/acme/profiles/a\0b"), "profile"),
        (lambda send: setattr(send, "profile", "workspaces/acme/profiles/ana\n"), "profile"),
        (lambda send: setattr(send, "profile", "workspaces/Acme/profiles/ana"), "profile"),
        (lambda send: setattr(send, "profile", f"workspaces/a/profiles/{'x' * 129}"), "profile"),
        (lambda send: send.ClearField("channel"), "channel"),
        (lambda send: setattr(send, "channel", 77), "channel"),
        (lambda send: send.ClearField("expire_time"), "expire_time"),
    ],
)
async def test_a_bad_send_refuses_the_batch_by_field(
    throttle: Throttle, spoil: Callable[[pb.Send], None], field: str
) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    good, bad = throttle.send("ana", 1), throttle.send("ana", 2)
    spoil(bad)

    error = await refused(throttle, good, bad)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in violations_of(error)] == [f"sends[1].{field}"]
    # Nothing was reserved.
    assert await throttle.answers(throttle.send("ana", 3)) == ["allow"]


@pytest.mark.parametrize(
    "expire",
    [
        Timestamp(seconds=253_402_300_799, nanos=999_999_999),
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
        Timestamp(nanos=-5),
    ],
)
async def test_any_expiry_is_borne(throttle: Throttle, expire: Timestamp) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY)
    send = throttle.send("ana", 1)
    send.expire_time.CopyFrom(expire)

    assert await throttle.answers(send, throttle.send("ana", 2)) == ["allow", "suppress"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "a\0b", "x" * 10_000, "../../etc/passwd"])
async def test_an_unknown_zone_is_utc(throttle: Throttle, zone: str) -> None:
    await throttle.subscribe("ana")
    await throttle.cap("daily", 1, calendar=DAY, defer=True)

    _, verdict = await throttle.reserve(
        throttle.send("ana", 1, time_zone=zone), throttle.send("ana", 2, time_zone=zone)
    )

    assert verdict.defer.until.ToDatetime(UTC) == datetime(2026, 11, 19, tzinfo=UTC)


async def test_a_batch_over_the_limit_is_refused(throttle: Throttle) -> None:
    error = await refused(throttle, *[throttle.send("ana", 1)] * 1001)

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "BATCH_TOO_LARGE"
    assert metadata_of(error) == {"limit": "1000", "got": "1001"}


async def test_a_full_batch_is_taken(throttle: Throttle) -> None:
    await throttle.subscribe("ana")
    sends = [throttle.send("ana", number) for number in range(1000)]

    assert set(await throttle.answers(*sends)) == {"allow"}


async def test_an_empty_batch_is_refused(throttle: Throttle) -> None:
    assert (await refused(throttle)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_bad_settlement_is_refused_by_field(throttle: Throttle) -> None:
    settlement = pb.Settlement(send_id=b"short", profile="ana")
    request = pb.SettleSendsRequest(settlements=[settlement])

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await throttle.stub.SettleSends(request)

    assert {one.field for one in violations_of(caught.value)} == {
        "settlements[0].send_id",
        "settlements[0].profile",
        "settlements[0].outcome",
    }


async def test_only_callers_of_all_workspaces_may_reserve(throttle: Throttle) -> None:
    stub = rpc.ThrottleServiceStub(throttle.acme_channel)
    send = throttle.send("ana", 1, expire=timedelta(hours=1))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ReserveSends(pb.ReserveSendsRequest(sends=[send]))

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
