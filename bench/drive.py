"""Drives one side with one load and measures what came out and what it cost."""

import asyncio
import secrets
from dataclasses import dataclass

from bench.load.events import Shape
from bench.load.remote import RemoteSink, send
from bench.load.spec import Load, Sent
from bench.load.usage import measure, spent
from bench.side import Side

# A measured run lasts about this long on the side at hand, so that neither start nor end weighs.
SECONDS = 6.0

# A side that takes so much longer than its pilot run is reported as failed, not waited for.
_PATIENCE = 120.0

# Less CPU than this, in cores, is a side that has finished and only polls.
_QUIET = 0.12


@dataclass(frozen=True, slots=True)
class Run:
    """One measured load."""

    sent: Sent
    messages: int
    """Different messages that arrived, as many as were expected."""
    repeats: int
    """Requests at the sink beyond one a message."""
    seconds: float
    """From the first byte sent to the last message arrived and the last event accepted."""
    cpu: dict[str, float]
    """CPU seconds by kind of process, until the side was quiet again."""

    @property
    def events_per_second(self) -> float:
        """Events from accepted to fully acted on."""
        return self.sent.events / self.seconds

    @property
    def messages_per_second(self) -> float:
        """Messages at the sink."""
        return self.messages / self.seconds

    @property
    def cpu_seconds(self) -> float:
        """CPU of all processes of the side."""
        return sum(self.cpu.values())

    @property
    def cpu_ms_per_message(self) -> float:
        """CPU of everything, the events that led to nothing included, a message."""
        return self.cpu_seconds * 1e3 / self.messages

    @property
    def cpu_us_per_event(self) -> float:
        """CPU of everything an event."""
        return self.cpu_seconds * 1e6 / self.sent.events


def make_load(
    side: Side,
    *,
    share: float,
    batches: int,
    rate: float = 0.0,
    batch_size: int = 0,
    lanes: int = 4,
    seconds: float = 0.0,
) -> Load:
    """Describe a load for a side, with event ids never used before."""
    shape = Shape(
        run=secrets.token_hex(3), batch_size=batch_size or side.batch_size, trigger_share=share
    )
    return Load(
        kind=side.kind,
        target=side.target,
        key=side.key,
        shape=shape,
        batches=batches,
        rate=rate,
        lanes=lanes,
        seconds=seconds,
    )


async def run(side: Side, sink: RemoteSink, load: Load) -> Run:
    """Send the load, wait for its messages and for quiet, and measure.

    Raises:
        RuntimeError: The side refused events: the run measures nothing then.
        TimeoutError: Messages are missing.
    """
    await sink.reset()
    before = measure(side.pids)
    sent = await send(load)
    if sent.failed:
        raise RuntimeError(f"{sent.failed} of {sent.failed + sent.events} events were not accepted")
    stats = await sink.wait_for(sent.messages, limit=_PATIENCE)
    await until_quiet(side)
    after = measure(side.pids)
    end = max(stats.last_ns, sent.end_ns)
    return Run(
        sent,
        stats.orders,
        stats.requests - stats.orders,
        (end - sent.begin_ns) / 1e9,
        spent(before, after),
    )


async def full_load(side: Side, sink: RemoteSink, *, share: float) -> Run:
    """Measure the side at the most it can do, for about `SECONDS`.

    A pilot run first: it warms caches, plans and pools, and says how much load lasts so long.
    """
    pilot = await run(side, sink, make_load(side, share=share, batches=_pilot_batches(side)))
    rate = pilot.events_per_second
    pilot = await run(side, sink, make_load(side, share=share, batches=_batches(side, rate * 1.5)))
    rate = max(rate, pilot.events_per_second)
    return await run(
        side, sink, make_load(side, share=share, batches=_batches(side, rate * SECONDS))
    )


async def until_quiet(side: Side, *, limit: float = 20.0) -> None:
    """Wait until the side has nothing left to do: receipts, settling, cleaning."""
    spell = 0.5
    last = measure(side.pids).cpu_seconds
    for _ in range(round(limit / spell)):
        await asyncio.sleep(spell)
        now = measure(side.pids).cpu_seconds
        if now - last < _QUIET * spell:
            return
        last = now


def _pilot_batches(side: Side) -> int:
    return max(4, 400 // side.batch_size)


def _batches(side: Side, events: float) -> int:
    return max(4, round(events / side.batch_size))
