"""Measures what the event log should carry: CPU of writing and of reading, and bytes.

Run it as `python -m bench.log_format`. Times are CPU microseconds an event, the median of several
turns; forms are measured in turn, so that a busy machine is unfair to all alike.
"""

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import zstandard
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.ingest.v1.ingest_service_pb2 import IngestEventsRequest
from beckon.ingest.v1.raw_pb2 import RawEvents, RawLogRecord
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct, Value
from rich.console import Console
from rich.table import Table

# Batches as they come in, and what a partition gets of one: 500 events over 16 partitions.
SIZES = (500, 31)
# Touched events whose properties are decoded too: campaigns look at few of them.
SHARES = (0.0, 0.1, 1.0)
EVENTS_PER_TURN = 4_000
RECEIVE_TIME_US = 1_800_000_000_000_000
MICRO = 1_000_000
# Smaller records are not worth a frame; 3 is zstd's own default.
ZSTD_LEVEL = 3

Writer = Callable[[Sequence[Event]], bytes]
Reader = Callable[[bytes, float], int]


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event as an array of its fields."""

    event_id: str
    type: str
    profile: str
    occur_time_us: int
    properties: bytes
    traceparent: str


class Rows(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One log record as an array."""

    workspace: str
    receive_time_us: int
    clock_offset_us: int
    events: list[Row]


@dataclass(frozen=True)
class Form:
    """One candidate."""

    name: str
    write: Writer
    read: Reader


encode_rows = msgspec.msgpack.Encoder().encode
decode_rows = msgspec.msgpack.Decoder(Rows).decode
decode_json = msgspec.json.Decoder(dict[str, object]).decode
compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress
decompress = zstandard.ZstdDecompressor().decompress


def make_events(count: int, *, structs: bool, seed: int = 7) -> list[Event]:
    """Make a shop's events, with about 200 bytes of properties each."""
    chance = random.Random(seed)
    events = []
    for number in range(count):
        properties = {
            "cart_value": round(chance.uniform(5, 500), 2),
            "currency": chance.choice(["EUR", "USD", "INR"]),
            "item_count": chance.randint(1, 9),
            "items": [
                {"sku": f"SKU-{chance.randrange(10**8):08d}", "price": chance.randint(1, 200)}
                for _ in range(2)
            ],
            "page": f"https://shop.example/cart/{chance.randrange(10**9)}",
            "returning": chance.random() < 0.5,
        }
        event = Event(
            event_id=f"{chance.randrange(16**32):032x}",
            type=chance.choice(["cart_updated", "order_placed", "page_viewed"]),
            profile=f"workspaces/shop/profiles/user-{chance.randrange(10**6)}",
        )
        event.occur_time.FromMicroseconds(RECEIVE_TIME_US - number * 1_000)
        if structs:
            ParseDict(properties, event.properties)
        else:
            event.properties_json = msgspec.json.encode(properties)
        events.append(event)
    return events


def write_protobuf(events: Sequence[Event]) -> bytes:
    record = LogRecord(workspace="shop", receive_time_us=RECEIVE_TIME_US, events=events)
    return record.SerializeToString()


def write_msgpack(events: Sequence[Event]) -> bytes:
    rows = []
    for event in events:
        occurred = event.occur_time
        rows.append(
            (
                event.event_id,
                event.type,
                event.profile,
                occurred.seconds * MICRO + occurred.nanos // 1_000,
                event.properties_json,
                event.traceparent,
            )
        )
    return encode_rows(("shop", RECEIVE_TIME_US, 0, rows))


def read_protobuf(payload: bytes, share: float) -> int:
    record = LogRecord.FromString(payload)
    wanted = share * len(record.events)
    touched = 0
    for index, event in enumerate(record.events):
        occurred = event.occur_time
        _row = (
            event.event_id,
            event.type,
            event.profile,
            occurred.seconds * MICRO + occurred.nanos // 1_000,
        )
        if index < wanted:
            touched += len(decode_json(event.properties_json))
    return touched


def plain(struct: Struct) -> dict[str, object]:
    """Turn a Struct into a dict by hand, which costs half of what json_format does."""
    return {key: plain_value(value) for key, value in struct.fields.items()}


def plain_value(value: Value) -> object:
    kind = value.WhichOneof("kind")
    inner = getattr(value, kind or "null_value")
    if kind == "struct_value":
        return plain(inner)
    if kind == "list_value":
        return [plain_value(item) for item in inner.values]
    return None if kind == "null_value" else inner


def read_struct(payload: bytes, share: float) -> int:
    record = LogRecord.FromString(payload)
    wanted = share * len(record.events)
    touched = 0
    for index, event in enumerate(record.events):
        occurred = event.occur_time
        _row = (
            event.event_id,
            event.type,
            event.profile,
            occurred.seconds * MICRO + occurred.nanos // 1_000,
        )
        if index < wanted:
            touched += len(plain(event.properties))
    return touched


def read_msgpack(payload: bytes, share: float) -> int:
    record = decode_rows(payload)
    wanted = share * len(record.events)
    touched = 0
    for index, event in enumerate(record.events):
        _row = (event.event_id, event.type, event.profile, event.occur_time_us)
        if index < wanted:
            touched += len(decode_json(event.properties))
    return touched


def write_spliced(events: Sequence[bytes]) -> bytes:
    """Write events that were never parsed: the record as the request's own bytes."""
    record = RawLogRecord(workspace="shop", receive_time_us=RECEIVE_TIME_US, events=events)
    return record.SerializeToString()


def squeezed(form: Form) -> Form:
    return Form(
        f"{form.name}, zstd",
        lambda events: compress(form.write(events)),
        lambda payload, share: form.read(decompress(payload), share),
    )


FORMS = (
    protobuf := Form("protobuf, properties as JSON bytes", write_protobuf, read_protobuf),
    packed := Form("msgpack of arrays", write_msgpack, read_msgpack),
    Form("protobuf, properties as Struct", write_protobuf, read_struct),
    squeezed(protobuf),
    squeezed(packed),
)


def cost(work: Callable[[], object], events: int) -> float:
    """Return CPU microseconds an event."""
    repeats = max(1, EVENTS_PER_TURN // events)
    begin = time.process_time_ns()
    for _ in range(repeats):
        work()
    return (time.process_time_ns() - begin) / 1_000 / repeats / events


def measure(size: int, turns: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the costs of each form (write, then read by share) and its bytes an event."""
    friendly = make_events(size, structs=True)
    fast = make_events(size, structs=False)
    request = IngestEventsRequest(parent="workspaces/shop", events=fast).SerializeToString()
    samples: dict[str, list[list[float]]] = defaultdict(list)
    sizes = {}

    def spliced() -> bytes:
        return write_spliced(RawEvents.FromString(request).events)

    assert list(LogRecord.FromString(spliced()).events) == fast
    for _ in range(turns):
        for form in FORMS:
            events = friendly if "Struct" in form.name else fast
            payload = form.write(events)
            sizes[form.name] = len(payload) / size
            row = [cost(partial(form.write, events), size)]
            row += [cost(partial(form.read, payload, share), size) for share in SHARES]
            samples[form.name].append(row)
        name = "protobuf, events spliced unparsed (with its own parse)"
        sizes[name] = len(spliced()) / size
        samples[name].append([cost(spliced, size)])
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in samples.items()
    }
    return medians, sizes


def show(console: Console, size: int, turns: int) -> None:
    medians, sizes = measure(size, turns)
    request = IngestEventsRequest(events=make_events(size, structs=False)).SerializeToString()
    parse = statistics.median(
        cost(lambda: IngestEventsRequest.FromString(request), size) for _ in range(turns)
    )
    table = Table(
        title=f"{size} events a record, CPU µs an event (parsing the request: {parse:.2f})"
    )
    table.add_column("form")
    for heading in ("write", "read, 0 %", "read, 10 %", "read, 100 %", "bytes"):
        table.add_column(heading, justify="right")
    for name, row in medians.items():
        cells = [f"{value:.2f}" for value in row]
        table.add_row(name, *cells, *[""] * (1 + len(SHARES) - len(cells)), f"{sizes[name]:.0f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    console = Console()
    for size in SIZES:
        show(console, size, turns)


if __name__ == "__main__":
    main()
