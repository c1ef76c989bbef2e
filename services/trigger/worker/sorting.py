"""Sorts the events of a batch by what profile said of them."""

from datetime import datetime
from uuid import UUID
from zlib import crc32

from beckon.ingest.v1.event_pb2 import Event, LogRecord

from mesh import metrics
from mesh.tracing import trace_of
from services.trigger.clients import Observed
from services.trigger.convert.events import named, profile_of, to_occurrence, to_person, traced
from services.trigger.convert.identities import is_change
from services.trigger.model import Person
from services.trigger.worker import aside
from services.trigger.worker.batch import Batch, Change, Item, Stages

_NOBODY = UUID(int=0)


def sort_out(
    batch: Batch,
    observed: Observed,
    types: frozenset[str],
    times: tuple[datetime, datetime],
    *,
    sample_below: int | None,
    now: datetime,
) -> list[Item]:
    """Return the events that some campaign wants; put what profile refused aside."""
    items: list[Item] = []
    people: dict[int, Person] = {}
    batch.ignored.clear()
    batch.changes.clear()
    failed, duplicates, standings = observed.failed, observed.duplicates, observed.standings
    number = -1
    for record, parsed in batch.records:
        stages = Stages(record.append_time, batch.read_time or now, *times)
        for event in parsed.events:
            number += 1
            if number in failed:
                aside.refused(batch, parsed, event, failed[number], record.partition, now=now)
                continue
            if is_change(event.type) and number not in duplicates:
                # Also of people who are erased: that is what it tells.
                batch.changes.append(Change(parsed, event, record.partition))
            if number in observed.erased:
                # Kept nowhere, by profile either.
                metrics.EVENTS_ERASED.inc(not is_change(event.type))
                continue
            if event.type not in types or number in duplicates:
                if sample_below is not None and _sampled(event, sample_below):
                    batch.ignored.append((traced(parsed, event), stages))
                continue
            place, standing = standings[number]
            actor = people.get(place)
            if actor is None:
                actor = people[place] = to_person(profile_of(event), standing)
            item = to_item(batch, parsed, event, record.partition, actor, stages, now=now)
            if item is not None:
                items.append(item)
    return items


def to_item(
    batch: Batch,
    record: LogRecord,
    event: Event,
    partition: int,
    actor: Person,
    stages: Stages,
    *,
    now: datetime,
) -> Item | None:
    """Return an event as it is judged; None: it was put aside."""
    try:
        occurrence = named(to_occurrence(record, event), actor.profile)
    except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
        aside.failed(batch, record, event, failure, partition, now=now)
        return None
    return Item(record, event, partition, occurrence, actor, stages)


def _sampled(event: Event, below: int) -> bool:
    """Say whether to trace an event that leads to nothing: as its caller does, else by its id."""
    if event.traceparent:
        return trace_of(event.traceparent, _NOBODY).sampled
    # By its id and not by its trace: that would cost a hundred times as much to know.
    return crc32(event.event_id.encode()) < below
