"""Sends the rows of a table in batches, several at a time, and takes down what became of each."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import grpc.aio
from google.rpc.status_pb2 import Status

from cli.tables.checkpoint import Checkpoint, Counts
from cli.tables.mapping import Unfit
from cli.tables.refusals import Refusals, Refused
from cli.tables.rows import Row

# A service that restarts is back within seconds; one that is gone should be told about.
_ATTEMPTS = 8
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    # All that is sent may be sent again: by its request id, or by its nature.
    grpc.StatusCode.DEADLINE_EXCEEDED,
}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service made of a batch."""

    created: int
    updated: int
    unchanged: int
    failed: Mapping[int, Status]
    """By index in what was sent."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that stand together; the same ones under the same number, however often it is read."""

    number: int
    rows: Sequence[Row]


@dataclass(slots=True)
class Importer(Generic[Item]):
    """Brings a table in."""

    item_of: Callable[[Row], Item]
    """Raises `Unfit`."""
    send: Callable[[int, list[Item]], Awaitable[Outcome]]
    checkpoint: Checkpoint
    refusals: Refusals
    bar: Callable[[int, int], None]
    counts: Counts = field(default_factory=Counts)
    """Of this run."""

    async def run(self, rows: Iterator[Row], *, size: int, parallel: int) -> None:
        """Send what is not done yet; return when all is.

        Raises:
            AioRpcError: The service refused a batch as a whole, or stayed away.
        """
        batches = in_batches(rows, size)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(parallel):
                    # They share one iterator: each takes the next batch when it is free.
                    group.create_task(self._work(batches))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _work(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            if not self.checkpoint.is_done(batch.number):
                await self._do(batch)
            self.bar(len(batch.rows), max(row.offset for row in batch.rows))

    async def _do(self, batch: Batch) -> None:
        items: list[Item] = []
        sent: list[Row] = []
        refused: list[Refused] = []
        for row in batch.rows:
            try:
                items.append(self._item(row))
                sent.append(row)
            except Unfit as error:
                refused.append(Refused(row, error.column, error.message, "ROW_INVALID"))
        self.checkpoint.begin(batch.number)
        outcome = await self._sent(batch.number, items) if items else Outcome(0, 0, 0, {})
        refused += [Refused.by_service(sent[at], why) for at, why in outcome.failed.items()]
        counts = Counts(
            rows=len(batch.rows),
            created=outcome.created,
            updated=outcome.updated,
            unchanged=outcome.unchanged,
            refused=len(refused),
        )
        # One after the other without a pause between: what is remembered is what was written.
        self.refusals.take(refused)
        self.checkpoint.finish(batch.number, counts, self.refusals.bytes_written)
        self.counts.add(counts)

    def _item(self, row: Row) -> Item:
        if row.problem:
            raise Unfit("", row.problem)
        return self.item_of(row)

    async def _sent(self, number: int, items: list[Item]) -> Outcome:
        attempt = 0
        while True:
            try:
                return await self.send(number, items)
            except grpc.aio.AioRpcError as error:
                attempt += 1
                if error.code() not in _PASSING or attempt >= _ATTEMPTS:
                    raise
                await asyncio.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1)))


def in_batches(rows: Iterator[Row], size: int) -> Iterator[Batch]:
    """Yield rows in batches, numbered from 1."""
    number, batch = 1, []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield Batch(number, batch)
            number, batch = number + 1, []
    if batch:
        yield Batch(number, batch)
