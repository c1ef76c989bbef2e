"""What a side costs: CPU and memory of its processes and all their children, read from the operating system."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the processes began, and memory now."""

    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """CPU seconds, user and system, by kind of process."""
    memory: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes by kind of process: the proportional set size, so that shared pages count once."""

    @property
    def cpu_seconds(self) -> float:
        """CPU of all processes."""
        return sum(self.cpu.values())

    @property
    def memory_bytes(self) -> int:
        """Memory of all processes."""
        return sum(self.memory.values())


def measure(roots: Iterable[int]) -> Usage:
    """Measure the processes and everything they have started.

    CPU of children that have already ended is in their parent's count (`children_user`), so nothing is lost between two
    measurements; a root that is itself another root's child is counted once.
    """
    usage = Usage()
    for process in _family(roots):
        try:
            with process.oneshot():
                kind = _kind(process)
                times = process.cpu_times()
                memory = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        usage.cpu[kind] += times.user + times.system + times.children_user + times.children_system
        usage.memory[kind] += getattr(memory, "pss", memory.rss)
    return usage


def spent(before: Usage, after: Usage) -> dict[str, float]:
    """Return the CPU seconds between two measurements by kind of process, the dearest first."""
    difference = {kind: seconds - before.cpu[kind] for kind, seconds in after.cpu.items()}
    return dict(sorted(difference.items(), key=lambda pair: -pair[1]))


def _family(roots: Iterable[int]) -> list[psutil.Process]:
    family: dict[int, psutil.Process] = {}
    for pid in roots:
        root = psutil.Process(pid)
        family.update({process.pid: process for process in [root, *root.children(recursive=True)]})
    return list(family.values())


def _kind(process: psutil.Process) -> str:
    """Name the process by what it runs: the module of a Python process, else the program."""
    command = process.cmdline()
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1]
    if "-c" in command[:-1]:
        # A child that multiprocessing spawned: uvicorn's workers.
        return "python -c"
    name = PurePath(process.name()).name
    return name if not name.startswith("python") or len(command) < 2 else PurePath(command[1]).name
