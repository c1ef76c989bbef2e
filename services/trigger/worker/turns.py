"""A turn: records of the log are observed, judged and committed with their positions."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter
from uuid import UUID, uuid4
from zlib import crc32

import structlog
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from google.rpc.status_pb2 import Status
from prometheus_client import Counter

from mesh import metrics
from mesh.clock import Clock
from mesh.eventlog import Record
from mesh.tracing import trace_of
from services.trigger.clients import Observed, Profile
from services.trigger.convert.events import (
    bug,
    quarantined_event,
    quarantined_record,
    to_occurrence,
    to_person,
    traced,
)
from services.trigger.model import (
    Effects,
    Enrollment,
    EnrollmentState,
    Key,
    Person,
)
from services.trigger.rules import Ledger, judge_event, recipient_of
from services.trigger.store import (
    Before,
    CatalogueChanged,
    Conflict,
    Known,
    LostPartition,
    TurnStore,
)
from services.trigger.worker.batch import Batch, Item, Judged, ReadRecord, Stages
from services.trigger.worker.catalogue import Catalogue, Catalogues
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.relay import Relay
from services.trigger.worker.spans import record_ignored, record_turn
from services.trigger.worker.timers import Timers

log = structlog.get_logger(__name__)

# Somebody changes campaigns or passages faster than we judge: give way for a moment.
_ATTEMPTS_MAX = 20
_NOBODY = UUID(int=0)

Someone = tuple[str, str]
"""Workspace and profile id."""


class Turns:
    """Works off batches of the log, each exactly once."""

    def __init__(
        self,
        *,
        store: TurnStore,
        profile: Profile,
        catalogues: Catalogues,
        partitions: Partitions,
        relay: Relay,
        timers: Timers,
        clock: Clock,
        lease: timedelta,
        trace_ratio: float | None,
    ) -> None:
        """Take what a turn needs; without a ratio no span goes anywhere."""
        self._store = store
        self._profile = profile
        self._catalogues = catalogues
        self._partitions = partitions
        self._relay = relay
        self._timers = timers
        self._clock = clock
        self._lease = lease
        self._sample_below = None if trace_ratio is None else round(trace_ratio * 2**32)

    async def run(self, records: Sequence[ReadRecord], positions: dict[int, str]) -> None:
        """Observe, judge and commit records that were read after `positions`.

        Raises:
            LostPartition: Another worker has moved on; nothing was written.
            MeshError: A peer or the database is away; nothing was written.
        """
        begun = perf_counter()
        read_time = self._clock.now()
        batch = self._batch(records, positions, read_time)
        await self._work(batch)
        self._partitions.moved({one: to for one, (_, to) in batch.moves.items()})
        metrics.BATCH_SIZE.labels(worker="trigger").observe(
            sum(len(parsed.events) for _, parsed in batch.records)
        )
        metrics.BATCH_SECONDS.labels(worker="trigger").observe(perf_counter() - begun)

    async def skip(self, record: Record, position: str, reason: Status) -> None:
        """Put a record whose turn fails for good into quarantine, and move on."""
        now = self._clock.now()
        quarantined = quarantined_record(
            record.payload, partition=record.partition, position=record.position, now=now
        )
        quarantined = replace(quarantined, error=reason.SerializeToString())
        moves = {record.partition: (position, record.position)}
        # Nothing is judged: commits what any version of the campaigns would.
        await self._judge_and_commit(Batch(moves=moves, quarantined=[quarantined]), [], None)
        self._partitions.moved({record.partition: record.position})

    async def replay(self, items: Sequence[tuple[UUID, LogRecord, Event, int]]) -> None:
        """Judge quarantined events that profile has observed, in a turn that moves nothing."""
        batch = Batch(replayed=[one[0] for one in items], read_time=self._clock.now())
        people = await self._profile.people(
            sorted({(record.workspace, _profile_id(event)) for _, record, event, _ in items})
        )
        stages = Stages(append_time=None, read_time=self._clock.now())
        wanted: list[Item] = []
        for _, record, event, partition in items:
            actor = people[record.workspace, _profile_id(event)]
            item = self._item(batch, record, event, partition, actor, stages)
            if item is not None:
                wanted.append(item)
        await self._judge_and_commit(batch, wanted, None)

    def _batch(
        self, records: Sequence[ReadRecord], positions: dict[int, str], now: datetime
    ) -> Batch:
        batch = Batch(read_time=now)
        for record, parsed in records:
            start = batch.moves.get(record.partition, (positions[record.partition], ""))[0]
            batch.moves[record.partition] = (start, record.position)
            if parsed is None:
                metrics.QUARANTINED.labels(reason="unreadable").inc()
                log.warning("record_quarantined", partition=record.partition)
                batch.quarantined.append(
                    quarantined_record(
                        record.payload,
                        partition=record.partition,
                        position=record.position,
                        now=now,
                    )
                )
                continue
            batch.records.append((record, parsed))
        return batch

    async def _work(self, batch: Batch) -> None:
        catalogue = self._catalogues.current
        if not catalogue.version:
            catalogue = await self._catalogues.reload()
        while True:
            types = catalogue.types
            observed, times = await self._observe(batch, types)
            items = self._items(batch, observed, types, times)
            if await self._judge_and_commit(batch, items, types):
                break
            # Campaigns with other event types came in: ask again, which profile answers alike.
            catalogue = self._catalogues.current
        record_ignored(batch.ignored)
        metrics.EVENTS_JUDGED.inc(sum(len(parsed.events) for _, parsed in batch.records))

    async def _observe(
        self, batch: Batch, types: frozenset[str]
    ) -> tuple[Observed, tuple[datetime, datetime]]:
        started = self._clock.now()
        if not batch.records:
            return Observed({}, frozenset(), {}), (started, started)
        raw = [(one.partition, one.position, one.payload) for one, _ in batch.records]
        observed = await self._profile.observe(raw, sorted(types))
        return observed, (started, self._clock.now())

    def _items(
        self,
        batch: Batch,
        observed: Observed,
        types: frozenset[str],
        times: tuple[datetime, datetime],
    ) -> list[Item]:
        """Return the events that some campaign wants; put what profile refused aside."""
        items: list[Item] = []
        people: dict[int, Person] = {}
        batch.ignored.clear()
        failed, duplicates, standings = observed.failed, observed.duplicates, observed.standings
        now = self._clock.now()
        number = -1
        for record, parsed in batch.records:
            stages = Stages(record.append_time, batch.read_time or now, *times)
            for event in parsed.events:
                number += 1
                if number in failed:
                    self._set_aside(
                        batch, parsed, event, failed[number], record.partition, observed=False
                    )
                    continue
                if event.type not in types or number in duplicates:
                    if self._sample_below is not None and _sampled(event, self._sample_below):
                        batch.ignored.append((traced(parsed, event), stages))
                    continue
                place, standing = standings[number]
                actor = people.get(place)
                if actor is None:
                    actor = people[place] = to_person(_profile_id(event), standing)
                item = self._item(batch, parsed, event, record.partition, actor, stages)
                if item is not None:
                    items.append(item)
        return items

    def _item(
        self,
        batch: Batch,
        record: LogRecord,
        event: Event,
        partition: int,
        actor: Person,
        stages: Stages,
    ) -> Item | None:
        try:
            occurrence = to_occurrence(record, event)
        except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
            self._fail(batch, record, event, failure, partition)
            return None
        return Item(record, event, partition, occurrence, actor, stages)

    async def _judge_and_commit(
        self, batch: Batch, items: list[Item], types: frozenset[str] | None
    ) -> bool:
        """Judge until the commit holds; False when the events of other types matter by now."""
        thorough = False
        for _ in range(_ATTEMPTS_MAX):
            catalogue = self._catalogues.current
            if types is not None and not catalogue.types <= types:
                return False
            begun = self._clock.now()
            judged, items = await self._judge(batch, items, catalogue, thorough=thorough)
            judged_at = self._clock.now()
            effects = replace(
                judged.effects,
                quarantined=tuple({one.id: one for one in batch.quarantined}.values()),
                replayed=tuple(set(batch.replayed) - {one.id for one in batch.quarantined}),
            )
            try:
                await self._commit(batch.moves, effects, catalogue, judged)
            except CatalogueChanged:
                await self._catalogues.reload()
            except Conflict:
                thorough = True
            else:
                self._follow_up(items, judged, begun, judged_at)
                return True
        raise LostPartition

    async def _commit(
        self,
        moves: dict[int, tuple[str, str]],
        effects: Effects,
        catalogue: Catalogue,
        judged: Judged,
    ) -> None:
        await self._store.commit(
            moves,
            effects,
            catalogue_version=catalogue.version,
            lease_until=self._clock.now() + self._lease,
            turns=judged.turns,
            guarded=judged.guarded,
        )

    async def _judge(
        self, batch: Batch, items: list[Item], catalogue: Catalogue, *, thorough: bool
    ) -> tuple[Judged, list[Item]]:
        """Gather all that is to be known, then judge every event in the order of the log."""
        if not items:
            return Judged(Effects(), {}, {}, {}), items
        now = self._clock.now()
        keys, guarded, recipients = _concerns(items, catalogue, thorough=thorough)
        known = (
            await self._store.know(
                keys,
                [item.occurrence.uid for item in items],
                {item.partition for item in items},
                now=now,
            )
            if keys
            else Known((), {}, {})
        )
        people = await self._profile.people(sorted(recipients)) if recipients else {}
        while True:
            ledger = Ledger(known.passages, known.last_entries)
            around_of: dict[UUID, dict[str, Person]] = {}
            failed: Item | None = None
            for item in items:
                event = item.occurrence
                around = {event.profile: item.actor}
                for plan in catalogue.book(event.workspace).triggers.get(event.type, ()):
                    if plan.recipient_property:
                        recipient, _ = recipient_of(plan, event)
                        if recipient:
                            around[recipient] = people[event.workspace, recipient]
                try:
                    judge_event(ledger, catalogue.book(event.workspace), event, around, now=now)
                except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
                    self._fail(batch, item.record, item.event, failure, item.partition)
                    failed = item
                    break
                around_of[event.uid] = around
            if failed is None:
                break
            # What it may have changed halfway is forgotten: all others are judged anew.
            items = [item for item in items if item is not failed]
        effects = ledger.effects()
        concerned = {
            (passage.key, passage.event.uid): around_of[passage.event.uid][passage.key.profile]
            for passage in effects.enrollments
            if not passage.revision
        }
        return Judged(effects, concerned, _before(known, guarded), known.turns), items

    def _follow_up(
        self, items: list[Item], judged: Judged, begun: datetime, judged_at: datetime
    ) -> None:
        released: list[tuple[Enrollment, Person]] = []
        canceling: list[Enrollment] = []
        entered = exited = 0
        for refusal in judged.effects.refusals:
            _count_refusal(refusal.gates[-1].name)
        for passage in judged.effects.enrollments:
            # What the commit made of it.
            stored = replace(passage, revision=passage.revision + 1)
            match passage.state:
                case EnrollmentState.SENDING:
                    released.append((stored, judged.people[passage.key, passage.event.uid]))
                case EnrollmentState.CANCELING:
                    canceling.append(stored)
                case EnrollmentState.WAITING if passage.wake_time is not None:
                    self._timers.expect(passage.wake_time)
                case _:
                    pass
            if not passage.revision:
                entered += 1
            elif passage.state is EnrollmentState.EXITED:
                exited += 1
        _ENTERED.inc(entered)
        _EXITED.inc(exited)
        if self._sample_below is not None:
            record_turn(items, judged.effects, begun, judged_at)
        self._relay.offer(released, canceling)

    def _fail(
        self, batch: Batch, record: LogRecord, event: Event, failure: Exception, partition: int
    ) -> None:
        error_id = str(uuid4())
        log.error("event_not_judged", error_id=error_id, partition=partition, exc_info=failure)
        self._set_aside(batch, record, event, bug(error_id, failure), partition, observed=True)

    def _set_aside(
        self,
        batch: Batch,
        record: LogRecord,
        event: Event,
        error: Status,
        partition: int,
        *,
        observed: bool,
    ) -> None:
        metrics.QUARANTINED.labels(reason="not_judged" if observed else "not_observed").inc()
        batch.quarantined.append(
            quarantined_event(
                record,
                event,
                error,
                observed=observed,
                partition=partition,
                now=self._clock.now(),
            )
        )


def _concerns(
    items: Iterable[Item], catalogue: Catalogue, *, thorough: bool
) -> tuple[set[Key], set[Key], set[Someone]]:
    """Return the keys to look up, those that others may touch too, and recipients to ask about."""
    keys: set[Key] = set()
    guarded: set[Key] = set()
    recipients: set[Someone] = set()
    for item in items:
        event = item.occurrence
        book = catalogue.book(event.workspace)
        for plan in book.exceptions.get(event.type, ()):
            keys.add(plan.key(event.profile))
            if plan.recipient_property:
                guarded.add(plan.key(event.profile))
        for plan in book.triggers.get(event.type, ()):
            recipient, _ = recipient_of(plan, event)
            if not recipient:
                continue
            # Where everybody may enter with every event, nothing that was matters.
            if thorough or plan.exceptions or plan.reentry_interval != timedelta(0):
                keys.add(plan.key(recipient))
            if plan.recipient_property:
                keys.add(plan.key(recipient))
                guarded.add(plan.key(recipient))
                recipients.add((event.workspace, recipient))
    return keys, guarded, recipients


def _before(known: Known, guarded: Iterable[Key]) -> dict[Key, Before]:
    uids: dict[Key, set[UUID]] = {key: set() for key in guarded}
    for passage in known.passages if uids else ():
        if passage.key in uids:
            uids[passage.key].add(passage.event.uid)
    return {key: Before(known.last_entries.get(key), frozenset(uids[key])) for key in uids}


def _count_refusal(gate: str) -> None:
    counter = _refusals.get(gate)
    if counter is None:
        counter = _refusals[gate] = metrics.DECISIONS.labels(verdict="refuse", gate=gate)
    counter.inc()


_ENTERED = metrics.ENROLLMENTS.labels(outcome="entered")
_EXITED = metrics.ENROLLMENTS.labels(outcome="exited")
_refusals: dict[str, Counter] = {}


def _sampled(event: Event, below: int) -> bool:
    """Say whether to trace an event that leads to nothing: as its caller does, else by its id."""
    if event.traceparent:
        return trace_of(event.traceparent, _NOBODY).sampled
    # By its id and not by its trace: that would cost a hundred times as much to know.
    return crc32(event.event_id.encode()) < below


def _profile_id(event: Event) -> str:
    return event.profile.rpartition("/")[2]
