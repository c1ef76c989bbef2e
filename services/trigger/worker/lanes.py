"""Reads the log, some partitions at a time, and works it off in turns."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import metrics
from mesh.errors import Internal, MeshError, to_rpc_status
from mesh.eventlog import EventLog
from mesh.server import Stopping
from services.trigger.store import LostPartition
from services.trigger.worker.batch import ReadRecord, read_record
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.relay import Relay
from services.trigger.worker.turns import Turns

log = structlog.get_logger(__name__)

_FAILED_FIRST = 0.1
_FAILED_MOST = 3.0
_IDLE_SECONDS = 0.1
# A turn of one record that fails so often, though nobody is away, is for people to look at.
_FAILURES_MAX = 3
# Less than a request may hold, so that a turn of several records always fits.
_TURN_BYTES_MAX = 2 << 20
# Records are mostly of some kilobytes, but may be of megabytes: a backlog of those would not fit.
_READ_BYTES_MAX = 16 << 20


def next_read(now: int, *, records: int, size: int, most: int) -> int:
    """Return how many records to ask for after a read of `size` bytes: 1 to `most`.

    Half as many when that was too much to hold, twice as many when all that
    was asked for came and was little.
    """
    if size > _READ_BYTES_MAX:
        return max(1, now // 2)
    if records >= now and size <= _READ_BYTES_MAX // 2:
        return min(most, now * 2)
    return now


class Lane:
    """Works off every so-manyth partition, beside other lanes of the process."""

    def __init__(
        self,
        number: int,
        *,
        lanes: int,
        log_: EventLog,
        turns: Turns,
        partitions: Partitions,
        relay: Relay,
        read_records: int,
        turn_events: int,
        wait: timedelta,
    ) -> None:
        """Take the partitions whose number modulo `lanes` is `number`."""
        self._mine = range(number, log_.partitions, lanes)
        self._log = log_
        self._turns = turns
        self._partitions = partitions
        self._relay = relay
        self._read_records = read_records
        self._turn_events = turn_events
        self._wait = wait
        self._next_read = 1
        self._failures: dict[tuple[int, str], int] = {}

    async def run(self, stopping: Stopping) -> None:
        """Work until told to stop."""
        pause = _FAILED_FIRST
        while not stopping.is_set():
            await self._relay.relieved(stopping)
            try:
                worked = await self.run_once(stopping)
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="trigger").inc()
                log.warning("turn_failed", reason=error.message)
                await stopping.wait(pause)
                pause = min(pause * 2, _FAILED_MOST)
                continue
            pause = _FAILED_FIRST
            if not worked and not self._partitions.positions(self._mine):
                await stopping.wait(_IDLE_SECONDS)

    async def run_once(self, stopping: Stopping) -> int:
        """Read once and work off what came; return how many records that were."""
        positions = self._partitions.positions(self._mine)
        if not positions:
            return 0
        records = await self._log.read(positions, max_records=self._next_read, wait=self._wait)
        self._next_read = next_read(
            self._next_read,
            records=len(records),
            size=sum(len(record.payload) for record in records),
            most=self._read_records,
        )
        for turn in _turns([read_record(record) for record in records], self._turn_events):
            if stopping.is_set():
                break
            await self._relay.relieved(stopping)
            if not await self._turn(turn, positions):
                break
            for record, _ in turn:
                positions[record.partition] = record.position
        return len(records)

    async def _turn(self, records: Sequence[ReadRecord], positions: dict[int, str]) -> bool:
        """Work off one turn; False when what follows must be read again."""
        try:
            return await self._attempt(records, positions)
        except LostPartition:
            log.info("partition_lost")
            await self._partitions.recheck()
            return False

    async def _attempt(self, records: Sequence[ReadRecord], positions: dict[int, str]) -> bool:
        try:
            await self._turns.run(records, positions)
        except Internal as error:
            return await self._apart(records, positions, error)
        except (LostPartition, MeshError):
            raise
        except Exception as error:
            log.exception("turn_crashed", records=len(records))
            return await self._apart(records, positions, error)
        return True

    async def _apart(
        self, records: Sequence[ReadRecord], positions: dict[int, str], error: Exception
    ) -> bool:
        """Work off records one by one, so that a bad one does not keep the others."""
        metrics.WORKER_FAILURES.labels(worker="trigger").inc()
        if len(records) > 1:
            positions = dict(positions)
            for one in records:
                if not await self._turn([one], positions):
                    return False
                positions[one[0].partition] = one[0].position
            return True
        record, _ = records[0]
        place = (record.partition, record.position)
        failures = self._failures[place] = self._failures.get(place, 0) + 1
        if failures < _FAILURES_MAX:
            raise _internal(error) from error
        del self._failures[place]
        metrics.QUARANTINED.labels(reason="turn_failed").inc()
        reason = to_rpc_status(_internal(error))
        await self._turns.skip(record, positions[record.partition], reason)
        return True


def _internal(error: Exception) -> Internal:
    return Internal(
        ErrorReason.ERROR_REASON_INTERNAL,
        f"a turn failed: {error}" if isinstance(error, MeshError) else type(error).__name__,
        metadata={"errorId": ""},
    )


def _turns(records: Sequence[ReadRecord], most: int) -> Iterator[list[ReadRecord]]:
    """Split what was read into turns of bounded size, each with records of many partitions.

    In the log's order per partition; a record that is larger than a turn is one of its own.
    """
    turn: list[ReadRecord] = []
    events = size = 0
    for one in _interleaved(records):
        record, parsed = one
        count = len(parsed.events) if parsed is not None else 1
        if turn and (events + count > most or size + len(record.payload) > _TURN_BYTES_MAX):
            yield turn
            turn, events, size = [], 0, 0
        turn.append(one)
        events += count
        size += len(record.payload)
    if turn:
        yield turn


def _interleaved(records: Sequence[ReadRecord]) -> Iterator[ReadRecord]:
    """Yield one record of each partition in turn: they come partition by partition."""
    queues: dict[int, list[ReadRecord]] = {}
    for one in records:
        queues.setdefault(one[0].partition, []).append(one)
    depth = max((len(queue) for queue in queues.values()), default=0)
    for level in range(depth):
        for queue in queues.values():
            if level < len(queue):
                yield queue[level]
