"""What a measurement needs of the system it measures, whichever it is."""

from typing import Protocol

from bench.load.spec import Kind


class Side(Protocol):
    """A running system that takes events and posts messages to the sink."""

    @property
    def kind(self) -> Kind:
        """How it takes events."""
        ...

    @property
    def target(self) -> str:
        """`host:port` where it takes them."""
        ...

    @property
    def key(self) -> str:
        """The caller's key; empty when it asks for none."""
        ...

    @property
    def batch_size(self) -> int:
        """Events a request, as its callers would send them under load."""
        ...

    @property
    def pids(self) -> list[int]:
        """Roots of all its processes, servers included."""
        ...
