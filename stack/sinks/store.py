"""What arrived: written by a sink, read by whoever wants to list or count it."""

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

# How long an answer waits for others to share its commit.
BATCH_WAIT = 0.002

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS arrivals (
    number INTEGER PRIMARY KEY,
    arrive_time INTEGER NOT NULL,  -- nanoseconds since 1970
    key TEXT NOT NULL,             -- Idempotency-Key or Message-ID; '' if there was none
    accepted INTEGER NOT NULL,     -- 1 unless the sender was told no
    target TEXT NOT NULL,          -- path, or recipients separated by spaces
    head TEXT NOT NULL,            -- JSON
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS arrivals_by_key ON arrivals (key);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing a sink was sent."""

    key: str
    """What names the message across repeats: Idempotency-Key or Message-ID; '' if there is none."""
    target: str
    """Path, or recipients separated by spaces."""
    head: dict[str, object]
    """Method and headers, or the envelope's sender."""
    body: bytes
    accepted: bool = True
    """False when the sender was told to come again or never."""
    arrive_time: int = field(default_factory=time.time_ns)
    """Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much arrived."""

    received: int
    """Everything that was accepted, repeats included."""
    unique: int
    """Different keys among them; what has no key counts each time."""
    refused: int
    """What was answered with no, on demand of a fault."""

    @property
    def repeats(self) -> int:
        """How often something came again that had been accepted before."""
        return self.received - self.unique


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail as it arrived."""

    number: int
    arrive_time: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    message_id: str
    body: str
    headers: dict[str, str]
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A request as it arrived."""

    number: int
    arrive_time: datetime
    method: str
    path: str
    idempotency_key: str
    headers: dict[str, str]
    body: str
    accepted: bool


class Recorder(Protocol):
    """Takes down what arrives."""

    async def record(self, arrival: Arrival) -> None:
        """Keep it; when this returns, the sender may be answered."""
        ...

    def counts(self) -> Counts:
        """Return how much arrived."""
        ...

    def first_arrivals(self) -> dict[str, int]:
        """Return when each key was first accepted, in nanoseconds since 1970."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


class MemoryRecorder:
    """Counts, and remembers when each key first came. For benchmarks: costs a microsecond."""

    def __init__(self) -> None:
        self.clear()

    async def record(self, arrival: Arrival) -> None:
        if not arrival.accepted:
            self._refused += 1
            return
        self._received += 1
        if arrival.key:
            self._first.setdefault(arrival.key, arrival.arrive_time)
        else:
            self._nameless += 1

    def counts(self) -> Counts:
        unique = len(self._first) + self._nameless
        return Counts(received=self._received, unique=unique, refused=self._refused)

    def first_arrivals(self) -> dict[str, int]:
        return dict(self._first)

    def clear(self) -> None:
        self._first: dict[str, int] = {}
        self._received = self._refused = self._nameless = 0


class FileRecorder:
    """Writes to a SQLite file that others read meanwhile.

    A recorded arrival survives a kill of the sink. Arrivals of the same two milliseconds share a
    commit.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A commit reaches the operating system, not the disk: enough for any end of this process.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._waiting: list[Arrival] = []
        self._written: asyncio.Future[None] | None = None

    async def record(self, arrival: Arrival) -> None:
        self._waiting.append(arrival)
        if self._written is None:
            loop = asyncio.get_running_loop()
            self._written = loop.create_future()
            loop.call_later(BATCH_WAIT, self._flush)
        await asyncio.shield(self._written)

    def counts(self) -> Counts:
        return _counts(self._connection)

    def first_arrivals(self) -> dict[str, int]:
        return _first_arrivals(self._connection)

    def clear(self) -> None:
        self._connection.execute("DELETE FROM arrivals")

    def _flush(self) -> None:
        written, batch = self._written, self._waiting
        self._written, self._waiting = None, []
        if written is None:
            return
        try:
            self._write(batch)
        except sqlite3.Error as error:
            written.set_exception(error)
        else:
            written.set_result(None)

    def _write(self, batch: Sequence[Arrival]) -> None:
        rows = [
            (one.arrive_time, one.key, one.accepted, one.target, json.dumps(one.head), one.body)
            for one in batch
        ]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO arrivals (arrive_time, key, accepted, target, head, body)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._connection.execute("COMMIT")


def count(file: Path) -> Counts:
    """Return how much a sink's file holds."""
    with _reading(file) as connection:
        return _counts(connection)


def first_arrivals(file: Path) -> dict[str, int]:
    """Return when each key was first accepted, in nanoseconds since 1970."""
    with _reading(file) as connection:
        return _first_arrivals(connection)


def duplicates(file: Path) -> dict[str, int]:
    """Return the keys that were accepted more than once, and how often."""
    with _reading(file) as connection:
        rows = connection.execute(
            "SELECT key, count(*) FROM arrivals WHERE accepted AND key <> ''"
            " GROUP BY key HAVING count(*) > 1"
        )
        return dict(rows.fetchall())


def list_mails(
    file: Path,
    *,
    to: str = "",
    message_id: str = "",
    refused: bool = False,
    after: int = 0,
    limit: int | None = None,
) -> list[Mail]:
    """Return mails, the oldest first: to a recipient, of a Message-ID, after a number.

    Those that were refused come along only if asked for.
    """
    rows = _list(file, target=to, key=message_id, refused=refused, after=after, limit=limit)
    return [_mail(*row) for row in rows]


def list_webhooks(
    file: Path,
    *,
    path: str = "",
    idempotency_key: str = "",
    refused: bool = False,
    after: int = 0,
    limit: int | None = None,
) -> list[Webhook]:
    """Return requests, the oldest first: on a path, of an Idempotency-Key, after a number.

    Those that were refused come along only if asked for.
    """
    rows = _list(file, target=path, key=idempotency_key, refused=refused, after=after, limit=limit)
    return [_webhook(*row) for row in rows]


def message_id_of(message: bytes) -> str:
    """Return a mail's Message-ID without parsing the mail, '' if it has none."""
    found = _MESSAGE_ID.search(message)
    # Only in the header: a body may quote another mail.
    if found is None or -1 < message.find(b"\r\n\r\n") < found.start():
        return ""
    return found.group(1).decode("ascii", errors="replace")


_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)

_Row = tuple[int, int, str, int, str, str, bytes]


def _list(
    file: Path, *, target: str, key: str, refused: bool, after: int, limit: int | None
) -> list[_Row]:
    with _reading(file) as connection:
        rows = connection.execute(
            "SELECT number, arrive_time, key, accepted, target, head, body FROM arrivals"
            " WHERE number > :after AND (:key = '' OR key = :key) AND (:refused OR accepted)"
            " AND (:target = '' OR instr(' ' || target || ' ', ' ' || :target || ' '))"
            " ORDER BY number LIMIT :limit",
            {
                "after": after,
                "key": key,
                "refused": refused,
                "target": target,
                "limit": -1 if limit is None else limit,
            },
        )
        return rows.fetchall()


def _counts(connection: sqlite3.Connection) -> Counts:
    received, keys, nameless, refused = connection.execute(
        "SELECT count(*) FILTER (WHERE accepted),"
        " count(DISTINCT CASE WHEN accepted AND key <> '' THEN key END),"
        " count(*) FILTER (WHERE accepted AND key = ''), count(*) FILTER (WHERE NOT accepted)"
        " FROM arrivals"
    ).fetchone()
    return Counts(received=received, unique=keys + nameless, refused=refused)


def _first_arrivals(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT key, min(arrive_time) FROM arrivals WHERE accepted AND key <> '' GROUP BY key"
    )
    return dict(rows.fetchall())


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a sink's file, whether or not the sink runs; a missing one reads as empty."""
    if not file.exists():
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(_SCHEMA)
            yield connection
        return
    with closing(sqlite3.connect(file)) as connection:
        yield connection


def _mail(
    number: int, arrive_time: int, key: str, accepted: int, target: str, head: str, body: bytes
) -> Mail:
    message = message_from_bytes(body, policy=policy.default)
    return Mail(
        number=number,
        arrive_time=_moment(arrive_time),
        sender=str(json.loads(head)["sender"]),
        recipients=tuple(target.split()),
        subject=str(message["subject"] or ""),
        message_id=key,
        body=_text(message),
        headers={name.lower(): str(value) for name, value in message.items()},
        accepted=bool(accepted),
    )


def _webhook(
    number: int, arrive_time: int, key: str, accepted: int, target: str, head: str, body: bytes
) -> Webhook:
    request = json.loads(head)
    return Webhook(
        number=number,
        arrive_time=_moment(arrive_time),
        method=request["method"],
        path=target,
        idempotency_key=key,
        headers=request["headers"],
        body=body.decode(errors="replace"),
        accepted=bool(accepted),
    )


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    return str(part.get_content()) if part is not None else ""


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
