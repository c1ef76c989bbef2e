"""The event log on Redis Streams: one stream a partition, one entry a record."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from mesh import redis
from mesh.eventlog.ordered import OrderedSender
from mesh.eventlog.port import START, Position, Record

_FIELD: Final = b"r"
# A blocking read must end before the socket's own timeout calls it a failure.
_SOCKET_TIMEOUT: Final = timedelta(seconds=10)
_LONGEST_WAIT: Final = _SOCKET_TIMEOUT / 2
# An entry may be a megabyte; only its id is wanted, and often.
_FIRST_ID: Final = (
    "local found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)"
    " return found[1] and found[1][1]"
)


class LogNotDurable(Exception):
    """The server would acknowledge what it can still lose."""


class RedisStreams:
    """The event log in one Redis that syncs its append-only file before it answers."""

    def __init__(self, client: redis.Redis, *, partitions: int, prefix: str = "beckon:log") -> None:
        """Keep partition p under `<prefix>:{p}`; the braces give each its own cluster slot."""
        self._client = client
        self._partitions = partitions
        self._keys = [f"{prefix}:{{{partition}}}".encode() for partition in range(partitions)]
        self._sender = OrderedSender(client)
        self._numbers = {key: partition for partition, key in enumerate(self._keys)}

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, *, partitions: int, allow_lossy: bool = False, prefix: str = "beckon:log"
    ) -> AsyncIterator["RedisStreams"]:
        """Open the log at `url`.

        Raises:
            LogNotDurable: The server does not sync every append (`appendonly yes`,
                `appendfsync always`), and `allow_lossy` does not say that losing
                the last second is fine.
        """
        async with redis.connect(url, timeout=_SOCKET_TIMEOUT, name="beckon-log") as client:
            if not allow_lossy:
                await _require_durable(client)
            log = cls(client, partitions=partitions, prefix=prefix)
            try:
                yield log
            finally:
                await log.close()

    async def close(self) -> None:
        """Close what was opened beside the client."""
        await self._sender.close()

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self._partitions

    async def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Append in one round trip; the server syncs once for all that came together."""
        if not records:
            return
        with redis.translated():
            await self._sender.send(
                [
                    ("XADD", self._keys[partition], "*", _FIELD, payload)
                    for partition, payload in records
                ]
            )

    async def read(
        self, after: Mapping[int, Position], *, max_records: int, wait: timedelta
    ) -> list[Record]:
        """Return what stands after the positions, waiting up to `wait` for the first."""
        if not after:
            return []
        share = max(1, max_records // len(after))
        block = max(1, int(min(wait, _LONGEST_WAIT).total_seconds() * 1000))
        keys = [self._keys[partition] for partition in after]
        positions = [position or "0-0" for position in after.values()]
        with redis.translated():
            answer = await self._client.execute_command(
                "XREAD", "COUNT", share, "BLOCK", block, "STREAMS", *keys, *positions
            )
        return [
            _record(self._numbers[key], entry_id, fields)
            for key, entries in answer or ()
            for entry_id, fields in entries
        ]

    async def trim(self, partition: int, up_to: Position) -> None:
        """Let go of whole blocks of entries up to `up_to`; the last block stays."""
        if up_to == START:
            return
        milliseconds, sequence = _ordinal(up_to)
        with redis.translated():
            await self._client.execute_command(
                "XTRIM", self._keys[partition], "MINID", "~", f"{milliseconds}-{sequence + 1}"
            )

    async def oldest_unread(self, after: Mapping[int, Position]) -> dict[int, datetime]:
        """Look at the first entry after each position, all in one round trip."""
        with redis.translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for partition, position in after.items():
                    start = f"({position}" if position else "-"
                    pipeline.execute_command("EVAL", _FIRST_ID, 1, self._keys[partition], start)
                answers = await pipeline.execute()
        return {
            partition: _append_time(entry_id.decode())
            for partition, entry_id in zip(after, answers, strict=True)
            if entry_id
        }

    def before(self, first: Position, second: Position) -> bool:
        """Compare by time, then by sequence."""
        return _ordinal(first) < _ordinal(second)


def _ordinal(position: Position) -> tuple[int, int]:
    if position == START:
        return (-1, 0)
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence)


def _append_time(position: Position) -> datetime:
    return datetime.fromtimestamp(_ordinal(position)[0] / 1000, UTC)


def _record(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Record:
    position = entry_id.decode()
    return Record(partition, position, _append_time(position), payload=fields[_FIELD])


async def _require_durable(client: redis.Redis) -> None:
    with redis.translated():
        answer = await client.config_get("appendonly", "appendfsync")
    found = {_text(key): _text(value) for key, value in answer.items()}
    if found != {"appendonly": "yes", "appendfsync": "always"}:
        message = (
            f"the event log must sync every append, but the server at BECKON_LOG_URL says {found}:"
            " set `appendonly yes` and `appendfsync always` there, or BECKON_LOG_ALLOW_LOSSY=true"
            " if losing acknowledged events of the last second is fine"
        )
        raise LogNotDurable(message)


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
