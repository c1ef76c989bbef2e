"""Makes sure that erasing works over the wire, for those who may, and through kills.

The real process on a real socket; the kill is SIGKILL while the erasure runs.
"""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import grpc.aio
import pytest
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import erasure_service_pb2 as pb
from beckon.profile.v1 import erasure_service_pb2_grpc as rpc
from beckon.profile.v1 import observation_service_pb2 as observation_pb
from beckon.profile.v1 import observation_service_pb2_grpc as observation_rpc
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import profile_service_pb2_grpc as profile_rpc

from mesh.errors import reason_of, violations_of
from services.profile.store import SCHEMA
from stack.ports import free_port
from tests.integration.profile.test_serving import Server
from tests.integration.profile.world import a_record, an_event

ANA = "workspaces/acme/profiles/ana"
LEFT = """
SELECT (SELECT count(*) FROM history WHERE profile_id = $1)
    + (SELECT count(*) FROM profiles WHERE profile_id = $1)
"""


@pytest.fixture
def house(url: str, tmp_path: Path) -> Server:
    return Server(url, tmp_path, free_port())


@asynccontextmanager
async def running(house: Server) -> AsyncIterator[Process]:
    process = await house.start()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


async def test_who_may_erases_and_the_person_stays_away(house: Server) -> None:
    async with running(house), house.channel() as channel:
        erasures: rpc.ErasureServiceAsyncStub = rpc.ErasureServiceStub(channel)
        profiles: profile_rpc.ProfileServiceAsyncStub = profile_rpc.ProfileServiceStub(channel)
        update = profile_pb.UpdateProfileRequest(
            profile=profile_pb.Profile(name=ANA, email="ana@example.org"), allow_missing=True
        )
        await profiles.UpdateProfile(update)

        erasure = await erasures.CreateErasure(pb.CreateErasureRequest(profile=ANA, reason="law"))
        again = await refusal(profiles.UpdateProfile(update))

        assert again.code() is grpc.StatusCode.FAILED_PRECONDITION
        reason = ErrorReason.Name(ErrorReason.ERROR_REASON_PERSON_ERASED)
        assert reason.endswith(reason_of(again))
        listed = await erasures.ListErasures(pb.ListErasuresRequest(parent="workspaces/acme"))
        assert [one.name for one in listed.erasures] == [erasure.name]
        for service in ("trigger", "throttle", "delivery"):
            removal = pb.Erasure.Removal(service=service, counts={"things": 1})
            await erasures.RecordErasure(
                pb.RecordErasureRequest(name=erasure.name, removal=removal)
            )
        done = await erasures.GetErasure(pb.GetErasureRequest(name=erasure.name))
        assert done.state == pb.Erasure.STATE_COMPLETE


async def test_who_may_not_does_not_and_nonsense_is_refused(house: Server) -> None:
    async with running(house), house.channel() as channel, house.channel("shop") as shop:
        erasures: rpc.ErasureServiceAsyncStub = rpc.ErasureServiceStub(channel)
        strangers: rpc.ErasureServiceAsyncStub = rpc.ErasureServiceStub(shop)
        erasure = await erasures.CreateErasure(pb.CreateErasureRequest(profile=ANA))

        forbidden = await refusal(strangers.CreateErasure(pb.CreateErasureRequest(profile=ANA)))
        nonsense = [
            pb.Erasure.Removal(service="ingest"),
            pb.Erasure.Removal(service="trigger", counts={"Things of Ana": 1}),
            pb.Erasure.Removal(service="trigger", counts={"things": -1}),
        ]
        refused = [
            await refusal(
                erasures.RecordErasure(pb.RecordErasureRequest(name=erasure.name, removal=one))
            )
            for one in nonsense
        ]

        assert forbidden.code() is grpc.StatusCode.PERMISSION_DENIED
        assert {one.code() for one in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
        assert "removal.service" in violations_of(refused[0])[0].field


async def test_killed_at_any_moment_a_repeat_finishes_it(house: Server) -> None:
    for attempt in range(4):
        person = f"ana{attempt}"
        name = f"workspaces/acme/profiles/{person}"
        async with running(house) as process, house.channel() as channel:
            observe: observation_rpc.ObservationServiceAsyncStub
            observe = observation_rpc.ObservationServiceStub(channel)
            for at in range(3):
                events = [an_event(f"e{attempt}.{at}.{one}", profile=person) for one in range(1000)]
                await observe.ObserveEvents(
                    observation_pb.ObserveEventsRequest(
                        records=[a_record(f"{attempt}.{at}", *events)]
                    )
                )
            stub: rpc.ErasureServiceAsyncStub = rpc.ErasureServiceStub(channel)
            erasing = asyncio.gather(
                stub.CreateErasure(pb.CreateErasureRequest(profile=name), timeout=5),
                return_exceptions=True,
            )
            # A little later each time: before, within and after the transaction.
            await asyncio.wait({erasing}, timeout=0.02 * attempt)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            erasing.cancel()
        async with running(house), house.channel() as channel:
            stub = rpc.ErasureServiceStub(channel)
            first = await stub.CreateErasure(pb.CreateErasureRequest(profile=name))
            second = await stub.CreateErasure(pb.CreateErasureRequest(profile=name))
            listed = await stub.ListErasures(pb.ListErasuresRequest(parent="workspaces/acme"))

        assert first == second
        assert dict(first.removals[0].counts)["history"] == 3000
        assert len(listed.erasures) == attempt + 1
        connection = await asyncpg.connect(house.url, server_settings={"search_path": SCHEMA})
        assert await connection.fetchval(LEFT, person) == 0
        await connection.close()
