"""The measurements, a function each: one round on fresh servers, both sides in turn, numbers into the record."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bench import drive
from bench.bare import Variant
from bench.baseline.side import baseline
from bench.load.remote import RemoteSink, program, send, sink
from bench.load.spec import Sent
from bench.load.spread import percentile
from bench.load.usage import measure, spent
from bench.mesh import Mesh, ingest_alone, mesh
from bench.profile import profile
from bench.record import Record
from bench.side import Side
from bench.trigger import trigger
from stack.servers import redis

# Shares of the events that lead to a message.
EVERY = 1.0
ONE_IN_TEN = 0.1

# Each server takes what it can for so long; the bare one's Redis then holds half a gigabyte.
_INGEST_SECONDS = 2.5
_INGEST_BATCHES = 10_000
_INGEST_WARM_UP = 60

# Events a request at half load: callers who do not saturate a server send smaller batches.
_LATENCY_BATCH = 100
_LATENCY_SECONDS = 10.0

Starter = Callable[[Path, str], AbstractAsyncContextManager[Side]]


async def ingest(record: Record) -> None:
    """Compare ingest alone with the two bare servers."""
    rates: dict[str, float] = {}
    for name, start in (
        ("bare_batch", lambda folder: _bare(folder, Variant.BATCH)),
        ("bare", lambda folder: _bare(folder, Variant.PARTITIONED)),
        ("mesh", ingest_alone),
    ):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with start(Path(folder)) as side:
                rates[name] = await _ingest_rate(record, name, side)
    record.add("ingest.events_per_second", rates["mesh"])
    record.add("ingest.bare_events_per_second", rates["bare"])
    record.add("ingest.bare_batch_events_per_second", rates["bare_batch"])
    record.add("ingest.ratio_to_bare", rates["mesh"] / rates["bare"])
    record.add("ingest.ratio_to_bare_batch", rates["mesh"] / rates["bare_batch"])


async def _ingest_rate(record: Record, name: str, side: Side) -> float:
    await send(drive.make_load(side, share=ONE_IN_TEN, batches=_INGEST_WARM_UP))
    before = measure(side.pids)
    load = drive.make_load(side, share=ONE_IN_TEN, batches=_INGEST_BATCHES, seconds=_INGEST_SECONDS)
    sent = await send(load)
    cpu = spent(before, measure(side.pids))
    if sent.failed:
        raise RuntimeError(f"{sent.failed} events were not accepted")
    record.profiles[f"ingest.{name} (us/event)"] = _per(cpu, sent.events)
    record.add(f"ingest.{name}_cpu_us_per_event", sum(cpu.values()) * 1e6 / sent.events)
    return sent.events / sent.seconds


async def e2e(record: Record) -> None:
    """Compare the mesh with the baseline from the first event to the last message."""
    for share in (EVERY, ONE_IN_TEN):
        theirs = await _full_load(record, "baseline", _baseline, share=share)
        ours = await _full_load(record, "mesh", _mesh, share=share)
        if share == EVERY:
            ratio = theirs.cpu_ms_per_message / ours.cpu_ms_per_message
            record.add("e2e.cpu_ratio_to_baseline", ratio)
        else:
            ratio = ours.events_per_second / theirs.events_per_second
            record.add("e2e.ratio_to_baseline", ratio)


async def _full_load(record: Record, name: str, start: Starter, *, share: float) -> drive.Run:
    """Measure one side at the most it can do and note its numbers, whatever becomes of the other."""
    async with _running(start) as (side, arrivals):
        run = await drive.full_load(side, arrivals, share=share)
    prefix = "e2e." if name == "mesh" else f"e2e.{name}_"
    if share == EVERY:
        record.add(f"{prefix}messages_per_second", run.messages_per_second)
        record.add(f"{prefix}cpu_ms_per_message", run.cpu_ms_per_message)
        record.profiles[f"e2e.{name}, every event triggers (us/message)"] = _per(
            run.cpu, run.messages
        )
    else:
        record.add(f"{prefix}events_per_second", run.events_per_second)
        record.add(f"{prefix}cpu_us_per_event", run.cpu_us_per_event)
        record.profiles[f"e2e.{name}, one in ten triggers (us/event)"] = _per(
            run.cpu, run.sent.events
        )
    record.add(f"{prefix}repeats", run.repeats)
    return run


async def latency(record: Record) -> None:
    """Measure from acknowledgement to message at half of the full load, on both sides."""
    for prefix, start in (("baseline_", _baseline), ("", _mesh)):
        async with _running(start) as (side, arrivals):
            full = await drive.full_load(side, arrivals, share=ONE_IN_TEN)
            rate = full.events_per_second / 2
            size = min(side.batch_size, _LATENCY_BATCH)
            load = drive.make_load(
                side,
                share=ONE_IN_TEN,
                batches=round(rate * _LATENCY_SECONDS / size),
                rate=rate,
                batch_size=size,
                lanes=8,
            )
            run = await drive.run(side, arrivals, load)
            waits = _waits_ms(run.sent, await arrivals.arrivals())
        record.add(f"latency.{prefix}p50_ms", percentile(waits, 50))
        record.add(f"latency.{prefix}p99_ms", percentile(waits, 99))
        record.add(f"latency.{prefix}events_per_second", rate)


def _waits_ms(sent: Sent, arrived: Mapping[bytes, int]) -> list[float]:
    """Return how long each message took after its batch was acknowledged; before counts as 0."""
    return [
        max(0, time - sent.acks[int(order.split(b"-")[1])]) / 1e6 for order, time in arrived.items()
    ]


async def tracing(record: Record) -> None:
    """Measure the mesh without tracing and with tracing at its default."""
    runs: list[drive.Run] = []
    for start in (_mesh_untraced, _mesh):
        async with _running(start) as (side, arrivals):
            runs.append(await drive.full_load(side, arrivals, share=ONE_IN_TEN))
    off, on = runs
    record.add("tracing.events_per_second", on.events_per_second)
    record.add("tracing.off_events_per_second", off.events_per_second)
    record.add("tracing.overhead_ratio", 1 - on.events_per_second / off.events_per_second)
    record.add("tracing.cpu_overhead_ratio", 1 - off.cpu_us_per_event / on.cpu_us_per_event)


async def memory(record: Record) -> None:
    """Measure the memory of the whole mesh, idle and under load."""
    async with _running(_mesh) as (side, arrivals):
        idle = measure(side.pids)
        record.add("memory.idle_mb", idle.memory_bytes / 1e6)
        loaded = asyncio.create_task(_highest(side))
        await drive.full_load(side, arrivals, share=ONE_IN_TEN)
        loaded.cancel()
        record.add("memory.loaded_mb", await loaded / 1e6)


async def _highest(side: Side) -> int:
    """Return the highest memory seen until cancelled."""
    highest = 0
    try:
        while True:
            highest = max(highest, measure(side.pids).memory_bytes)
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return highest


PARTS: Mapping[str, Callable[[Record], Awaitable[None]]] = {
    "ingest": ingest,
    "e2e": e2e,
    "latency": latency,
    "tracing": tracing,
    "memory": memory,
    "profile": profile,
    "trigger": trigger,
}


@asynccontextmanager
async def _running(start: Starter) -> AsyncIterator[tuple[Side, RemoteSink]]:
    """Run a side on a fresh folder, beside a fresh sink."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        async with sink() as arrivals, start(Path(folder), f"{arrivals.url}/hook") as side:
            await drive.until_quiet(side)
            yield side, arrivals


def _baseline(folder: Path, webhook_url: str) -> AbstractAsyncContextManager[Side]:
    return baseline(folder, webhook_url=webhook_url)


def _mesh(folder: Path, webhook_url: str) -> AbstractAsyncContextManager[Side]:
    return mesh(folder, webhook_url=webhook_url)


def _mesh_untraced(folder: Path, webhook_url: str) -> AbstractAsyncContextManager[Side]:
    return mesh(folder, webhook_url=webhook_url, traced=False)


@asynccontextmanager
async def _bare(folder: Path, variant: Variant) -> AsyncIterator[Mesh]:
    """Run a bare server on a Redis of its own."""
    async with (
        redis(folder) as log,
        program("bench.bare", log.url, variant) as (port, pid),
    ):
        yield Mesh(f"127.0.0.1:{port}", "", [log.pid, pid])


def _per(cpu: Mapping[str, float], count: int) -> dict[str, float]:
    """Return microseconds a piece by kind of process, the dearest first."""
    return {kind: round(seconds * 1e6 / count, 2) for kind, seconds in cpu.items()}
