"""What a turn works on, and what it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from beckon.ingest.v1.event_pb2 import Event, LogRecord
from google.protobuf.message import DecodeError

from mesh.eventlog import Record
from services.trigger.model import Effects, Key, Occurrence, Person, Quarantined
from services.trigger.store import Before


@dataclass(frozen=True, slots=True)
class Stages:
    """When the record of some events went through what they have in common."""

    append_time: datetime | None
    """None: the event comes out of quarantine, not from the log."""
    read_time: datetime
    observe_start: datetime | None = None
    observe_end: datetime | None = None


ReadRecord = tuple[Record, LogRecord | None]
"""A record of the log and what it says; None: it cannot be read."""


def read_record(record: Record) -> ReadRecord:
    """Return a record with what it says."""
    try:
        return record, LogRecord.FromString(record.payload)
    except DecodeError:
        return record, None


@dataclass(frozen=True, slots=True)
class Item:
    """An event that some campaign wants to hear of."""

    record: LogRecord
    event: Event
    partition: int
    occurrence: Occurrence
    actor: Person
    stages: Stages


@dataclass(slots=True)
class Batch:
    """What a turn works on."""

    moves: dict[int, tuple[str, str]] = field(default_factory=dict)
    records: list[tuple[Record, LogRecord]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    replayed: list[UUID] = field(default_factory=list)
    ignored: list[tuple[Occurrence, Stages]] = field(default_factory=list)
    """Events that no campaign wants, and that are traced all the same."""
    read_time: datetime | None = None
    changes: list["Change"] = field(default_factory=list)
    """What the log tells of people, in its order."""


@dataclass(frozen=True, slots=True)
class Change:
    """An event that tells who is who."""

    record: LogRecord
    event: Event
    partition: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch, judged with one version of the campaigns."""

    effects: Effects
    people: dict[tuple[Key, UUID], Person]
    guarded: Mapping[Key, Before]
    turns: Mapping[int, int]
    """`Known.turns` of what it was judged by."""
    heard: Sequence[Item] = ()
    """The events, each with what follows from it, as they were judged."""
    unreadable: int = 0
    """Reports of locations that tell no place on earth."""
