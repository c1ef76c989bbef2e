"""Everything that can be killed: a stack, and a second process of those services that take turns."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from stack import ready
from stack.plan import POSTGRES, REDIS, SERVICES
from stack.ports import HOST, free_ports
from stack.supervisor import Program, Supervisor
from stack.up import Stack

# Each claims work under leases: a process that stands still longer than they last wakes up to
# find its work in the hands of the other, and may not do it again.
TWINS = ("trigger", "delivery")

_SECOND = "-2"

TARGETS = (*SERVICES, POSTGRES, REDIS)
EXTRA_TARGETS = tuple(f"{name}{_SECOND}" for name in TWINS)


@dataclass(frozen=True, slots=True)
class Herd:
    """Processes by name: those of the stack, and `trigger-2` and the like."""

    stack: Stack
    twins: Supervisor

    def pid(self, name: str) -> int:
        """Return the process id of one that runs."""
        return self.twins[name].pid if name in EXTRA_TARGETS else self.stack.pid(name)

    def kill(self, name: str) -> None:
        """End one as kill -9 does; it comes back."""
        (self.twins if name in EXTRA_TARGETS else self.stack).kill(name)

    async def wait_until_up(self, name: str) -> None:
        """Wait until one is ready again."""
        await (self.twins if name in EXTRA_TARGETS else self.stack).wait_until_up(name)


@asynccontextmanager
async def herd(stack: Stack) -> AsyncIterator[Herd]:
    """Start the second processes beside a stack that is up."""
    async with Supervisor() as twins:
        await twins.start({f"{name}{_SECOND}": _twin(stack, name) for name in TWINS})
        yield Herd(stack, twins)


def names() -> Sequence[str]:
    """Return all that there will be."""
    return (*TARGETS, *EXTRA_TARGETS)


def _twin(stack: Stack, name: str) -> Program:
    # All that the first one was told, but for where to listen.
    told = psutil.Process(stack.pid(name)).environ()
    port, metrics_port = free_ports(2)
    target = f"{HOST}:{port}"
    environment = {
        **os.environ,
        **told,
        f"{name.upper()}_ADDRESS": target,
        f"{name.upper()}_METRICS_ADDRESS": f"{HOST}:{metrics_port}",
    }
    return Program(
        f"{name}{_SECOND}",
        [sys.executable, "-m", f"services.{name}"],
        environment=environment,
        log=stack.folder / "logs" / f"{name}{_SECOND}.log",
        ready=lambda: ready.serves(target),
    )
