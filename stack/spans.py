"""Spans as the collector keeps them, and one trace read back as a tree."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    number INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_span_id TEXT NOT NULL,  -- '' for a root
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    start_time INTEGER NOT NULL,   -- nanoseconds since 1970
    end_time INTEGER NOT NULL,
    error TEXT NOT NULL,           -- '' for none
    attributes TEXT NOT NULL,      -- JSON
    UNIQUE (trace_id, span_id)
);
"""

_COLUMNS = (
    "trace_id, span_id, parent_span_id, service, name, start_time, end_time, error, attributes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_span_id: str
    """'' for a root."""
    service: str
    name: str
    start_time: int
    """Nanoseconds since 1970."""
    end_time: int
    """Nanoseconds since 1970."""
    error: str = ""
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def start(self) -> datetime:
        """When it began."""
        return _EPOCH + timedelta(microseconds=self.start_time // 1000)

    @property
    def duration(self) -> timedelta:
        """How long it took."""
        return timedelta(microseconds=(self.end_time - self.start_time) / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A span with what happened within or because of it, in order of time."""

    span: Span
    children: tuple["Node", ...]

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Yield every span below with its depth, parents first."""
        yield depth, self.span
        for child in self.children:
            yield from child.walk(depth + 1)


class SpanFile:
    """The file a collector writes."""

    def __init__(self, file: Path, *, retain: int) -> None:
        """Open or create it; beyond `retain` spans the oldest are dropped."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._retain = retain
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def add(self, spans: Sequence[Span]) -> None:
        """Keep spans. One that is known by its ids is written over: a repeat is the same span."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT INTO spans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 — our own constant.
            " ON CONFLICT (trace_id, span_id) DO UPDATE SET start_time = excluded.start_time,"
            " end_time = excluded.end_time, error = excluded.error,"
            " attributes = excluded.attributes",
            [_row(span) for span in spans],
        )
        connection.execute(
            "DELETE FROM spans WHERE number <= (SELECT max(number) FROM spans) - ?",
            (self._retain,),
        )
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def read_trace(file: Path, trace_id: str) -> list[Span]:
    """Return the spans of a trace, the earliest first."""
    return _select(file, "trace_id = ?", trace_id.lower())


def find_spans(file: Path, attribute: str, value: str) -> list[Span]:
    """Return the spans with an attribute of that value: where to look for a message's trace."""
    return _select(file, "attributes ->> ? = ?", f'$."{attribute}"', value)


def count_spans(file: Path) -> int:
    """Return how many spans there are."""
    with _reading(file) as connection:
        return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])


def tree(spans: Sequence[Span]) -> tuple[Node, ...]:
    """Build the tree of one trace.

    A span whose parent is not here (not sampled, not arrived, the caller's own) is a root, and so
    is one that is its own ancestor: nothing is left out.
    """
    known = {span.span_id for span in spans}
    in_order = sorted(spans, key=lambda span: (span.start_time, span.end_time, span.span_id))
    children: dict[str, list[Span]] = {}
    for span in in_order:
        children.setdefault(span.parent_span_id, []).append(span)
    placed: set[str] = set()

    def node(span: Span) -> Node:
        placed.add(span.span_id)
        below = [child for child in children.get(span.span_id, ()) if child.span_id not in placed]
        return Node(span=span, children=tuple(map(node, below)))

    roots = [node(span) for span in in_order if span.parent_span_id not in known]
    # What is left goes round in circles.
    roots += [node(span) for span in in_order if span.span_id not in placed]
    return tuple(roots)


def _row(span: Span) -> tuple[object, ...]:
    return (
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.service,
        span.name,
        span.start_time,
        span.end_time,
        span.error,
        json.dumps(span.attributes),
    )


def _select(file: Path, condition: str, *values: str) -> list[Span]:
    with _reading(file) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM spans WHERE {condition} ORDER BY start_time, number",  # noqa: S608 — our own constants.
            values,
        ).fetchall()
    return [
        Span(
            trace_id=row[0],
            span_id=row[1],
            parent_span_id=row[2],
            service=row[3],
            name=row[4],
            start_time=row[5],
            end_time=row[6],
            error=row[7],
            attributes=json.loads(row[8]),
        )
        for row in rows
    ]


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, whether or not the collector runs; a missing one reads as empty."""
    with closing(sqlite3.connect(file if file.exists() else ":memory:")) as connection:
        if not file.exists():
            connection.executescript(_SCHEMA)
        yield connection
