"""Makes sure that throttle runs as a process: told everything by the environment, ended by SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc.aio
import msgspec
from beckon.throttle.v1 import throttle_service_pb2 as pb
from beckon.throttle.v1 import throttle_service_pb2_grpc as rpc

from mesh import client
from mesh.callers import key_entry
from stack.ports import free_port
from tests.integration.throttle.world import KEY, WEBHOOK, send_id
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]


async def start(environ: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.throttle",
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_two_processes_start_at_once_serve_and_end_in_order(
    postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(msgspec.json.encode([key_entry("tests", KEY)]))
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    processes = [
        await start(
            {
                "THROTTLE_ADDRESS": address,
                "THROTTLE_METRICS_ADDRESS": "off",
                "THROTTLE_DATABASE_URL": postgres_url,
                "THROTTLE_REDIS_URL": redis_url,
                "BECKON_KEYS_FILE": str(keys),
                "BECKON_DRAIN_SECONDS": "0",
            }
        )
        for address in addresses
    ]
    send = pb.Send(send_id=send_id(1), profile="workspaces/acme/profiles/ana", channel=WEBHOOK)
    send.expire_time.GetCurrentTime()

    try:
        for address in addresses:
            async with client.connect(address, key=KEY, service="throttle") as channel:
                stub = rpc.ThrottleServiceStub(channel)

                async def answers(stub: "rpc.ThrottleServiceAsyncStub" = stub) -> bool:
                    try:
                        request = pb.ReserveSendsRequest(sends=[send])
                        return (await stub.ReserveSends(request)).verdicts[0].HasField("allow")
                    except grpc.aio.AioRpcError:
                        return False

                await eventually(answers, limit=60)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        outputs = [(await process.communicate())[0] for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    assert [process.returncode for process in processes] == [0, 0], outputs


async def test_all_that_is_missing_is_said_at_once() -> None:
    process = await start({})

    output, _ = await process.communicate()

    assert process.returncode == 1
    for name in (b"THROTTLE_DATABASE_URL", b"THROTTLE_REDIS_URL", b"BECKON_KEYS_FILE"):
        assert name in output
