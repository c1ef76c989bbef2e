"""Makes sure that a Redis or PostgreSQL that goes away costs time, never a count."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from beckon.throttle.v1 import throttle_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.errors import metadata_of
from mesh.settings import ServerSettings
from stack.servers import Postgres, Redis
from tests.integration.throttle.world import DAY, FakeClock, Throttle, running
from tests.waiting import eventually


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis of the test's own, that keeps what it acknowledged."""
    async with Redis(tmp_path / "redis-of-test") as server:
        yield server


async def answer_of(throttle: Throttle, send: pb.Send) -> str | None:
    """Return the answer, or the dependency that is said to be away."""
    try:
        return (await throttle.answers(send))[0]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return metadata_of(error)["dependency"]


async def test_a_redis_killed_and_restarted_has_lost_no_place(
    postgres_url: str, own_redis: Redis, settings: ServerSettings, clock: FakeClock
) -> None:
    async with running(postgres_url, own_redis.url, settings, clock, "killed") as throttle:
        await throttle.subscribe("ana")
        await throttle.cap("daily", 2, calendar=DAY)
        assert await throttle.answers(throttle.send("ana", 1)) == ["allow"]

        own_redis.kill()
        assert await answer_of(throttle, throttle.send("ana", 2)) == "redis"
        await own_redis.start()

        # The scripts are forgotten too, and sent again.
        sends = [throttle.send("ana", number) for number in (1, 2, 3)]

        async def back() -> bool:
            return await answer_of(throttle, sends[0]) == "allow"

        await eventually(back)
        assert await throttle.answers(*sends) == ["allow", "allow", "suppress"]


async def test_a_restarted_redis_learns_the_scripts_of_a_pipeline(
    postgres_url: str, own_redis: Redis, settings: ServerSettings, clock: FakeClock
) -> None:
    people = [f"person-{number}" for number in range(30)]
    async with running(
        postgres_url, own_redis.url, settings, clock, "forgot", by_shard=True
    ) as throttle:
        await throttle.subscribe(*people)
        await throttle.cap("daily", 1, calendar=DAY)

        first = await throttle.answers(*(throttle.send(of, f"1/{of}") for of in people))
        second = await throttle.answers(*(throttle.send(of, f"2/{of}") for of in people))

    assert set(first) == {"allow"}
    assert set(second) == {"suppress"}


async def test_health_says_when_redis_is_away(
    postgres_url: str, own_redis: Redis, settings: ServerSettings, clock: FakeClock
) -> None:
    async with running(postgres_url, own_redis.url, settings, clock, "health") as throttle:
        # Its types know no methods.
        health: Any = health_pb2_grpc.HealthStub(throttle.channel)
        request = health_pb2.HealthCheckRequest(service="beckon.throttle.v1.ThrottleService")

        async def serving() -> bool:
            status = (await health.Check(request)).status
            return bool(status == health_pb2.HealthCheckResponse.SERVING)

        async def not_serving() -> bool:
            return not await serving()

        await eventually(serving)
        own_redis.kill()
        await eventually(not_serving)
        await own_redis.start()
        await eventually(serving)


async def test_caps_are_heard_of_again_after_postgres_restarts(
    tmp_path: Path, redis_url: str, settings: ServerSettings, clock: FakeClock
) -> None:
    async with Postgres(tmp_path / "postgres-of-test") as server:
        url = await server.create_database("restarted")
        async with running(url, redis_url, settings, clock, "restarted") as throttle:
            await throttle.subscribe("ana")
            server.kill()
            await server.start()

            async def back() -> bool:
                return await answer_of(throttle, throttle.send("ana", 1)) == "allow"

            await eventually(back)
            await throttle.cap("daily", 1, calendar=DAY)

            sends = [throttle.send("ana", number) for number in (1, 2)]
            assert await throttle.answers(*sends) == ["allow", "suppress"]
