"""What a generator is asked to do and what it reports: values that cross a process boundary as JSON."""

from enum import StrEnum

import msgspec

from bench.load.events import Shape


class Kind(StrEnum):
    """How the events travel."""

    STREAM = "stream"
    """gRPC, one bidirectional stream a connection."""
    UNARY = "unary"
    """gRPC, a call a batch."""
    HTTP = "http"
    """HTTP/1.1 over kept connections, as the baseline takes them."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One load, to be sent to one server."""

    kind: Kind
    target: str
    """`host:port`."""
    shape: Shape
    batches: int
    """How many to send; the first has number `first`."""
    first: int = 0
    key: str = ""
    """The caller's key, for gRPC."""
    lanes: int = 4
    """Connections (HTTP) or streams (gRPC): what is under way at once."""
    window: int = 8
    """Batches under way on one stream."""
    rate: float = 0.0
    """Events a second, evenly spaced whatever the answers take; 0 sends the next batch when one is answered."""
    seconds: float = 0.0
    """Stop sending after so long, even when batches are left; 0 sends them all."""


class Sent(msgspec.Struct, kw_only=True):
    """What became of a load."""

    events: int = 0
    """Accepted events."""
    messages: int = 0
    """Messages that the accepted events should lead to."""
    failed: int = 0
    """Events refused or not answered."""
    begin_ns: int = 0
    end_ns: int = 0
    """First byte sent, last answer received, on the machine's monotonic clock."""
    acks: dict[int, int] = {}
    """When each batch was accepted, by its number."""
    late_ns: int = 0
    """How far behind its plan the generator fell at most; with a rate only."""
    cpu_seconds: float = 0.0
    """What the generator itself used."""

    @property
    def seconds(self) -> float:
        """From the first byte to the last answer."""
        return (self.end_ns - self.begin_ns) / 1e9
