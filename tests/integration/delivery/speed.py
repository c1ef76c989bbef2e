"""Measures what a message costs delivery: CPU of its process, its child and PostgreSQL.

`python -m tests.integration.delivery.speed [webhook|email] [messages]`; sinks are processes apart.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import psutil
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.type.v1.trace_context_pb2 import TraceContext

from mesh.migrations import migrate
from services.delivery.__main__ import MIGRATIONS, SCHEMA
from stack.ports import free_port
from stack.servers import Postgres
from tests.integration.delivery.peers import Peers, peers
from tests.integration.delivery.service import (
    EMAIL,
    ROOT,
    WEBHOOK,
    Service,
    a_delivery,
    a_template,
    service,
)
from tests.waiting import eventually

BATCH = 500


def cpu_of(pid: int) -> float:
    """Return seconds of a processor that a process and its children have used."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    # Backends that ended in between are counted with the postmaster.
    return total + process.cpu_times().children_user + process.cpu_times().children_system


async def sink(kind: str, port: int) -> asyncio.subprocess.Process:
    """Start a development sink."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"stack.sinks.{kind}", "--listen", f"127.0.0.1:{port}", "--memory",
        cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
    )  # fmt: skip


async def round_of(
    delivery: Service,
    postgres: Postgres,
    others: Peers,
    channel: int,
    messages: int,
    *,
    sampled: bool,
) -> None:
    """Send so many, print what one cost."""
    assert delivery.process is not None
    others.throttle.settlements.clear()
    trace = TraceContext(trace_id=b"t" * 16, sampled=sampled)
    batches = [
        pb.BatchCreateDeliveriesRequest(
            requests=[a_delivery(channel, profile=f"p{i}", trace=trace) for i in range(BATCH)]
        )
        for _ in range(messages // BATCH)
    ]
    before = cpu_of(delivery.process.pid), cpu_of(postgres.pid)
    child = sum(c.cpu_times().user for c in psutil.Process(delivery.process.pid).children())
    begun = perf_counter()
    for batch in batches:
        await delivery.deliveries.BatchCreateDeliveries(batch)

    # Asking delivery itself would be part of what is measured.
    await eventually(lambda: len(others.throttle.settlements) == messages, limit=120)
    seconds = perf_counter() - begun
    await asyncio.sleep(0.5)
    ours = (cpu_of(delivery.process.pid) - before[0]) / messages * 1e6
    theirs = (cpu_of(postgres.pid) - before[1]) / messages * 1e6
    child = sum(c.cpu_times().user for c in psutil.Process(delivery.process.pid).children()) - child
    print(
        f"{'sampled' if sampled else 'plain'}: {messages / seconds:.0f}/s,"
        f" delivery {ours:.0f} us a message (of it rendering {child / messages * 1e6:.0f}),"
        f" postgres {theirs:.0f} us"
    )


async def main(kind: str, messages: int) -> None:
    """Run three rounds."""
    channel = EMAIL if kind == "email" else WEBHOOK
    ports = {"mail": free_port(), "webhook": free_port()}
    with TemporaryDirectory() as folder:
        async with Postgres(Path(folder) / "pg") as postgres, peers() as others:
            url = await postgres.create_database("speed")
            await migrate(url, schema=SCHEMA, folder=MIGRATIONS)
            sinks = [await sink(name, port) for name, port in ports.items()]
            for i in range(BATCH):
                others.profiles.emails[f"workspaces/w/profiles/p{i}"] = f"p{i}@example.com"
            try:
                hook = f"127.0.0.1:{ports['webhook']}"
                async with service(
                    Path(folder), url, others.address, hooks=hook, inbox=("127.0.0.1", ports["mail"]),
                    settings={"DELIVERY_POLL_SECONDS": "1"},
                ) as delivery:  # fmt: skip
                    await delivery.save(a_template(hook=hook))
                    for sampled in (False, False, False, True):
                        await round_of(
                            delivery, postgres, others, channel, messages, sampled=sampled
                        )
            finally:
                for each in sinks:
                    each.terminate()
                    await each.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000))
