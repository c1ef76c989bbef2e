"""What the sinks' commands share: options, the loop, and ending on SIGTERM."""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from stack.sinks.faults import Faults, parse
from stack.sinks.store import FileRecorder, MemoryRecorder, Recorder

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a sink was asked to run."""

    listen: Address
    control: Address | None
    recorder: Recorder
    faults: Faults


def options(program: str, *, control: bool) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--listen", type=address, required=True, metavar="HOST:PORT")
    if control:
        parser.add_argument("--control", type=address, metavar="HOST:PORT", help="counts, faults")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", type=Path, metavar="FILE", help="record to this SQLite file")
    where.add_argument("--memory", action="store_true", help="count only")
    parser.add_argument("--faults", type=parse, default=(), metavar="JSON", help="misbehave so")
    chosen = parser.parse_args()
    return Options(
        listen=chosen.listen,
        control=getattr(chosen, "control", None),
        recorder=MemoryRecorder() if chosen.memory else FileRecorder(chosen.store),
        faults=Faults(chosen.faults),
    )


def address(text: str) -> Address:
    """Read `host:port`."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def run(serve: Callable[[Options], Awaitable[None]], chosen: Options) -> None:
    """Serve until SIGTERM or SIGINT."""

    async def until_told() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, told.set)

        async def end() -> None:
            await told.wait()
            raise _Told

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(end())
                await serve(chosen)
        except* _Told:
            pass

    uvloop.run(until_told())


class _Told(Exception):
    pass
