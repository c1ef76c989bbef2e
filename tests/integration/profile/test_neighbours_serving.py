"""Makes sure that devices and relations are served by the process, over a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from beckon.profile.v1 import device_service_pb2 as pb
from beckon.profile.v1 import device_service_pb2_grpc as rpc
from beckon.profile.v1 import relation_service_pb2 as relation_pb
from beckon.profile.v1 import relation_service_pb2_grpc as relation_rpc

from stack.ports import free_port
from tests.integration.profile.neighbours import (
    ACTIVE,
    FCM,
    TOKEN,
    Neighbours,
    an_edge,
    named,
    short,
)
from tests.integration.profile.test_serving import Server
from tests.waiting import eventually

ACME = "workspaces/acme"


@pytest.fixture
async def channel(url: str, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    house = Server(url, tmp_path, free_port())
    process = await house.start()
    try:
        async with house.channel() as channel:
            yield channel
    finally:
        process.terminate()
        await process.wait()


async def test_a_device_is_registered_and_shown(channel: grpc.aio.Channel) -> None:
    stub = rpc.DeviceServiceStub(channel)
    request = pb.RegisterDeviceRequest(profile=named("ana"), platform=FCM, token=TOKEN)

    device = await stub.RegisterDevice(request)

    assert device.state == ACTIVE
    assert await stub.GetDevice(pb.GetDeviceRequest(name=device.name)) == device
    retire = pb.RetireDevicesRequest()
    retire.items.add(name=device.name).report_time.CopyFrom(device.seen_time)
    assert (await stub.RetireDevices(retire)).retired_count == 1


async def test_a_platform_must_be_named(channel: grpc.aio.Channel) -> None:
    request = pb.RegisterDeviceRequest(profile=named("ana"), token=TOKEN)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rpc.DeviceServiceStub(channel).RegisterDevice(request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_bad_edge_falls_alone_over_the_wire_too(channel: grpc.aio.Channel) -> None:
    stub: relation_rpc.RelationServiceAsyncStub = relation_rpc.RelationServiceStub(channel)
    edges = [an_edge("ana", "follows", "ben"), an_edge("ana", "Bad Kind", "ben")]
    put = relation_pb.BatchPutRelationsRequest(parent=ACME, relations=edges)

    answer = await stub.BatchPutRelations(put)

    assert (answer.created_count, list(answer.failed_relations)) == (1, [1])


@pytest.mark.parametrize("size", [0, 1001])
async def test_a_batch_has_its_bounds(channel: grpc.aio.Channel, size: int) -> None:
    stub: relation_rpc.RelationServiceAsyncStub = relation_rpc.RelationServiceStub(channel)
    edges = [an_edge("ana", "follows", f"p{index}") for index in range(size)]
    put = relation_pb.BatchPutRelationsRequest(parent=ACME, relations=edges)
    delete = relation_pb.BatchDeleteRelationsRequest(parent=ACME, relations=edges)

    for call in (stub.BatchPutRelations(put), stub.BatchDeleteRelations(delete)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_followers_stream_out_and_a_client_may_leave(
    channel: grpc.aio.Channel, world: Neighbours
) -> None:
    stub: relation_rpc.RelationServiceAsyncStub = relation_rpc.RelationServiceStub(channel)
    edges = [an_edge(f"p{index:04}", "follows", "ben") for index in range(3000)]
    for at in range(0, 3000, 1000):
        put = relation_pb.BatchPutRelationsRequest(parent=ACME, relations=edges[at : at + 1000])
        assert (await stub.BatchPutRelations(put)).created_count == 1000
    request = relation_pb.StreamRelatedRequest(profile=named("ben"), kind="follows", incoming=True)

    call = stub.StreamRelated(request)
    first = await anext(aiter(call))
    call.cancel()
    request.cursor = first.cursor
    rest = [item async for part in stub.StreamRelated(request) for item in part.items]

    names = [short(item.profile) for item in [*first.items, *rest]]
    assert names == [f"p{index:04}" for index in range(3000)]

    async def busy() -> int:
        found = await world.fetch(
            "SELECT FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%relations_in%'"
            " AND pid <> pg_backend_pid()"
        )
        return len(found)

    await eventually(busy, lambda count: count == 0)
