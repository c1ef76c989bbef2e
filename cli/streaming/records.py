"""Reads events from lines of JSON."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from cli.durations import parse_time
from cli.problems import Problem, usage

if TYPE_CHECKING:
    from beckon.ingest.v1.event_pb2 import Event

# An event may have 32 KiB of properties; a line beyond this is no event, and is not read whole.
LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Lines, and how far into the file they go."""

    stream: IO[bytes] | gzip.GzipFile
    position: Callable[[], int]
    """Bytes read of the file as it lies on the disk; 0 for a pipe."""
    name: str = "what is piped in"


class Record(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An event as a line says it: the fields of the proto, with the profile's id or name."""

    event_id: str
    type: str
    profile: str
    occur_time: str = ""
    properties: msgspec.Raw = msgspec.Raw()
    traceparent: str = ""
    consistency_token: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input."""

    number: int
    """From 1."""
    content: bytes
    """Without its end."""
    offset: int
    """Bytes read of the file as it lies on the disk, this line included; for progress."""


class Unreadable(Exception):
    """A line is no event; the text says why."""


@contextmanager
def opened(source: str) -> Iterator[Source]:
    """Open a file, gzipped or not; `-` is what is piped in.

    Raises:
        Problem: It cannot be read.
    """
    if source == "-":
        yield Source(sys.stdin.buffer, lambda: 0)
        return
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise usage(f"cannot read {source}: {error.strerror}") from error
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = stack.enter_context(gzip.GzipFile(fileobj=raw)) if zipped else raw
        yield Source(stream, raw.tell, source)


def lines(source: Source) -> Iterator[Line]:
    """Yield the lines of a stream; one that is too long comes cut, and will be no JSON.

    Raises:
        Problem: From some line on it cannot be read.
    """
    number = 0
    while content := _next_line(source, number):
        number += 1
        # Asking costs a call, so only now and then.
        offset = source.position() if number % 256 == 0 else 0
        yield Line(number, content.rstrip(b"\r\n"), offset)


def _next_line(source: Source, number: int) -> bytes:
    try:
        content = source.stream.readline(LINE_BYTES_MAX)
        if not content.endswith(b"\n") and len(content) == LINE_BYTES_MAX:
            _skip_rest(source.stream)
    except (EOFError, OSError, zlib.error) as error:
        raise Problem(
            f"{source.name} cannot be read beyond line {number:,}: {error}",
            reason="FILE_BROKEN",
            hint="what stands before it may be in already",
        ) from error
    return content


def _skip_rest(stream: IO[bytes] | gzip.GzipFile) -> None:
    while (more := stream.readline(LINE_BYTES_MAX)) and not more.endswith(b"\n"):
        pass


def event_of(content: bytes, parent: str) -> "Event":
    """Return the event of a line.

    Only what cannot be said as a message is looked at; whether an event is good is for the service
    to say.

    Raises:
        Unreadable: The line is no event.
    """
    from beckon.ingest.v1.event_pb2 import Event

    if len(content) >= LINE_BYTES_MAX:
        raise Unreadable(f"the line is longer than {LINE_BYTES_MAX:,} bytes")
    try:
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        known = f"; known: {', '.join(Record.__struct_fields__)}"
        raise Unreadable(f"{error}{known if 'unknown field' in str(error) else ''}") from error
    name = record.profile
    event = Event(
        event_id=record.event_id,
        type=record.type,
        profile=name if name.startswith("workspaces/") else f"{parent}/profiles/{name}",
        traceparent=record.traceparent,
        consistency_token=record.consistency_token,
    )
    if properties := bytes(record.properties):
        event.properties_json = properties
    if record.occur_time:
        try:
            event.occur_time.FromDatetime(parse_time(record.occur_time))
        except ValueError as error:
            raise Unreadable(f"occur_time: {error}") from error
    return event
