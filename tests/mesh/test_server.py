"""Makes sure that a server begins, tells its health and ends in order."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import urlopen

import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mesh import postgres
from mesh.health import LIVENESS
from mesh.server import Stopping, Worker, WorkerCrashed, serve, serving
from mesh.settings import BadSettings, ServerSettings
from stack.servers import Postgres
from tests.mesh.conftest import WORKSPACE_KEY, Behaviour, Echo, Running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAME = "workspaces/acme/things/one"
METADATA = [("authorization", f"Bearer {WORKSPACE_KEY}")]


async def health(channel: grpc.aio.Channel, service: str = "echo.v1.EchoService") -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(answer.status)


async def eventually_health(channel: grpc.aio.Channel, status: int) -> float:
    """Wait for the status by watching; return how long it took."""
    begun = monotonic()
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="echo.v1.EchoService")
    call = stub.Watch(request, timeout=10)
    async for answer in call:
        if answer.status == status:
            call.cancel()
            break
    return monotonic() - begun


async def test_a_server_says_serving_once_its_dependencies_answer(
    behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    answers = asyncio.Event()

    async def check() -> None:
        if not answers.is_set():
            raise ConnectionError

    async with (
        serving(server_settings, [behaviour.service()], checks={"thing": check}) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        assert await health(channel) == NOT_SERVING
        assert await health(channel, "") == NOT_SERVING
        assert await health(channel, LIVENESS) == SERVING
        answers.set()
        await eventually_health(channel, SERVING)
        assert await health(channel, "") == SERVING


async def test_one_missed_check_is_forgiven(
    behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    asked = 0
    done = asyncio.Event()

    async def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            done.set()
        if asked == 3:
            raise ConnectionError

    async with (
        serving(server_settings, [behaviour.service()], checks={"thing": check}) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        seen: list[int] = []
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=5)

        async def watch() -> None:
            async for answer in call:
                seen.append(answer.status)  # noqa: PERF401 — kept when the call is cancelled

        watching = asyncio.gather(watch(), return_exceptions=True)
        await done.wait()
        call.cancel()
        await watching

    assert seen in ([NOT_SERVING, SERVING], [SERVING])


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_check_that_hangs_means_not_serving(
    stubborn: bool, behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    hang = asyncio.Event()
    thawed = asyncio.Event()

    async def check() -> None:
        while hang.is_set() and not thawed.is_set():
            try:
                await thawed.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    async def fine() -> None:
        pass

    checks = {"hanging": check, "fine": fine}
    async with (
        serving(server_settings, [behaviour.service()], checks=checks) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await eventually_health(channel, SERVING)
        hang.set()
        took = await eventually_health(channel, NOT_SERVING)
        assert took < 2
        assert await health(channel, LIVENESS) == SERVING
        thawed.set()
        await eventually_health(channel, SERVING)


async def test_a_frozen_database_means_not_serving_until_it_thaws(
    behaviour: Behaviour, server_settings: ServerSettings, tmp_path: Path
) -> None:
    async with (
        Postgres(tmp_path / "postgres", durable=False) as server,
        postgres.connect(server.url, schema="public", timeout=timedelta(seconds=1)) as database,
        serving(
            server_settings, [behaviour.service()], checks={"postgres": database.ping}
        ) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await eventually_health(channel, SERVING)
        frozen = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        for process in frozen:
            process.suspend()
        try:
            took = await eventually_health(channel, NOT_SERVING)
        finally:
            for process in frozen:
                process.resume()
        back = await eventually_health(channel, SERVING)

    assert took < 3
    assert back < 10


async def test_a_running_call_finishes_after_health_says_not_serving(
    echo: Echo, behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    begun = asyncio.Event()
    release = asyncio.Event()

    async def act(_: Any) -> None:
        begun.set()
        await release.wait()

    behaviour.act = act
    stop = Stopping()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ended: list[str] = []

    async def worker(stopping: Stopping) -> None:
        await stopping.wait()
        ended.append("worker")

    settings = replace(server_settings, drain=timedelta(seconds=0.3))
    running = asyncio.gather(
        serve(
            settings,
            [behaviour.service()],
            workers=[worker],
            stop=stop,
            on_serving=port.set_result,
        )
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await port}") as channel:
        stub = echo.rpc.EchoServiceStub(channel)
        call = stub.Echo(echo.pb.EchoRequest(name=NAME, word="late"), metadata=METADATA)
        answer = asyncio.gather(call)
        await begun.wait()
        stop.set()
        await asyncio.sleep(0)
        await eventually_health(channel, NOT_SERVING)
        behaviour.act = None
        during = await stub.Echo(echo.pb.EchoRequest(name=NAME, word="x"), metadata=METADATA)
        assert during.word == "x"
        assert ended == []
        release.set()
        assert (await answer)[0].word == "late"
    await running
    assert ended == ["worker"]


async def test_a_crash_of_a_worker_ends_the_server(
    behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    async def crashes(_: Stopping) -> None:
        message = "no"
        raise RuntimeError(message)

    async def waits(stopping: Stopping) -> None:
        await stopping.wait()

    async def returns(_: Stopping) -> None:
        pass

    workers: list[Worker] = [crashes, returns]
    for worker in workers:
        with pytest.raises(WorkerCrashed):
            await serve(server_settings, [behaviour.service()], workers=[waits, worker])


async def test_a_worker_that_does_not_stop_is_cancelled(
    behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    async def deaf(_: Stopping) -> None:
        await asyncio.Event().wait()

    settings = replace(server_settings, grace=timedelta(seconds=0.2))
    begun = monotonic()
    async with serving(settings, [behaviour.service()], workers=[deaf]):
        pass

    assert monotonic() - begun < 2


async def test_a_taken_port_is_named_with_its_setting(
    running: Running, behaviour: Behaviour, server_settings: ServerSettings
) -> None:
    settings = replace(server_settings, address=running.address)
    with pytest.raises(BadSettings, match=f"ECHO_ADDRESS: .*{running.address}"):
        await serve(settings, [behaviour.service()])


async def test_metrics_are_served(
    behaviour: Behaviour, server_settings: ServerSettings, unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    settings = replace(server_settings, metrics_address=address)
    async with serving(settings, [behaviour.service()]):
        with await asyncio.to_thread(urlopen, f"http://{address}/metrics") as page:
            text = page.read().decode()
        with pytest.raises(BadSettings, match="ECHO_METRICS_ADDRESS"):
            await serve(settings, [behaviour.service()])

    assert "beckon_rpcs_total" in text


async def test_reflection_names_the_services(running: Running) -> None:
    channel: Any = running.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    async for answer in stub.ServerReflectionInfo(requests):
        names = {service.name for service in answer.list_services_response.service}
        break

    assert {"echo.v1.EchoService", "grpc.health.v1.Health"} <= names


PROCESS = """
import asyncio, os, sys
from datetime import timedelta
from pathlib import Path
from mesh.server import run, serve
from mesh.settings import ServerSettings, TelemetrySettings
from mesh.telemetry import set_up

async def worker(stopping):
    if sys.argv[2] == "crash":
        raise RuntimeError("for ann@example.com")
    await stopping.wait()

settings = ServerSettings(
    prefix="ECHO", keys_file=Path(sys.argv[1]), drain=timedelta(seconds=0.1),
    uvloop=sys.argv[3] == "uvloop",
)
set_up("echo", TelemetrySettings())
run(serve(settings, [], workers=[worker]), settings)
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(
    ending: signal.Signals, loop: str, server_settings: ServerSettings, tmp_path: Path
) -> None:
    process = await start_process(server_settings, "wait", loop)
    assert process.stdout is not None
    lines: list[str] = []
    async for line in process.stdout:
        lines.append(line.decode())
        if '"serving"' in lines[-1]:
            process.send_signal(ending)

    assert await process.wait() == 0
    assert '"stopped"' in lines[-1]


async def test_a_crash_of_a_worker_ends_the_process_with_a_code(
    server_settings: ServerSettings,
) -> None:
    process = await start_process(server_settings, "crash", "uvloop")
    output, _ = await process.communicate()

    assert process.returncode == 1
    assert b"worker_crashed" in output
    assert b"[address]" in output
    assert b"ann@example.com" not in output


async def start_process(
    settings: ServerSettings, what: str, loop: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROCESS,
        str(settings.keys_file),
        what,
        loop,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
