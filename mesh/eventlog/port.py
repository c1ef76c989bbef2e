"""The port every event log implements; `tests/contract/test_event_log.py` holds them to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

Position: TypeAlias = str
"""Where a record stands in its partition, as the log names it; opaque to everybody else."""

START: Position = ""
"""Before the first record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the log."""

    partition: int
    """From 0."""
    position: Position
    """Greater than that of every record before it in the partition."""
    append_time: datetime
    """When the log took it, by the log's clock."""
    payload: bytes
    """What was appended."""


class EventLog(Protocol):
    """Keeps records in order per partition, durably, until trimmed.

    Every method raises Unavailable when the log is away; nothing is repeated by
    the log itself.
    """

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        ...

    async def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Append (partition, payload) pairs, in order per partition.

        Calls take effect in the order in which they are made, also while earlier
        ones are under way. They are on disk when it returns. When it raises, any part of them may
        be in the log: append again, readers drop what they know.
        """
        ...

    async def read(
        self, after: Mapping[int, Position], *, max_records: int, wait: timedelta
    ) -> list[Record]:
        """Return records that stand after the given positions, in order per partition.

        About `max_records` at most over all partitions, fairly shared: a
        partition with much to read does not hide another. Empty after `wait`
        without any. Positions that were trimmed away read on from the oldest kept.
        """
        ...

    async def trim(self, partition: int, up_to: Position) -> None:
        """Let go of the records up to and including `up_to`; may keep some longer."""
        ...

    async def oldest_unread(self, after: Mapping[int, Position]) -> dict[int, datetime]:
        """Return, per partition that has any, when the log took the first record after a position.

        What operators watch: how far behind the clock a reader is.
        """
        ...

    def before(self, first: Position, second: Position) -> bool:
        """Tell whether `first` stands before `second` in a partition."""
        ...
