"""Choosing ports on this machine, and saying clearly when one is taken."""

import random
import socket
from contextlib import ExitStack

from stack.errors import PortTaken, StackError

HOST = "127.0.0.1"

# Below those the kernel gives to outgoing connections, which would take a port back between our
# choice and its use.
_RANGE = (20_000, 32_000)


def free_port() -> int:
    """Return a port nobody listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different free ports; asking one at a time may repeat one."""
    with ExitStack() as held:
        return [_hold_one(held) for _ in range(count)]


def _hold_one(held: ExitStack) -> int:
    for port in random.sample(range(*_RANGE), k=len(range(*_RANGE))):
        probe = held.enter_context(socket.socket())
        try:
            probe.bind((HOST, port))
        except OSError:
            continue
        return port
    raise StackError(f"no port between {_RANGE[0]} and {_RANGE[1]} is free on {HOST}")


def require_free(port: int, purpose: str, setting: str) -> None:
    """Refuse a port that is in use.

    Raises:
        PortTaken: Somebody listens there.
    """
    with socket.socket() as probe:
        # As servers do: a port is not taken by connections that only wait to be forgotten.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(port, purpose, setting) from error
