"""Choosing ports on this machine, and saying clearly when one is taken."""

import socket

from stack.errors import PortTaken

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Return different free ports; asking one at a time may repeat one."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


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
