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
from mesh.errors import MeshError
from mesh.eventlog import Record
from mesh.tracing import trace_of
from services.trigger.clients import Observed, Profile
from services.trigger.convert.events import (
    bug,
    named,
    quarantined_event,
    quarantined_record,
    to_occurrence,
    to_person,
    traced,
)
from services.trigger.convert.identities import is_change, to_change
from services.trigger.model import (
    Effects,
    Enrollment,
    EnrollmentState,
    Erasure,
    Identity,
    Key,
    Person,
)
from services.trigger.rules import Ledger, judge_event
from services.trigger.store import (
    Before,
    CatalogueChanged,
    Conflict,
    Known,
    LostPartition,
    TurnStore,
)
from services.trigger.worker.batch import Batch, Change, Item, Judged, ReadRecord, Stages
from services.trigger.worker.catalogue import Catalogue, Catalogues
from services.trigger.worker.concerns import (
    Concerns,
    Someone,
    concerns_of,
    people_around,
    recipients_of,
    renamed,
)
from services.trigger.worker.identities import Identities
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.relay import Relay
from services.trigger.worker.spans import record_ignored, record_turn
from services.trigger.worker.timers import Timers

log = structlog.get_logger(__name__)

# Somebody changes campaigns or passages faster than we judge: give way for a moment.
_ATTEMPTS_MAX = 20
_NOBODY = UUID(int=0)


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
        identities: Identities,
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
        self._identities = identities
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
        types = self._catalogues.current.types
        for _, record, event, partition in items:
            if is_change(event.type):
                batch.changes.append(Change(record, event, partition))
                if event.type not in types:
                    continue
            actor = people[record.workspace, _profile_id(event)]
            item = self._item(batch, record, event, partition, actor, stages)
            if item is not None:
                wanted.append(item)
        wanted = await self._follow(batch, wanted)
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
            # Before anything is judged, and again if all this is done again: it may be told twice.
            items = await self._follow(batch, items)
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
        batch.changes.clear()
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
                if is_change(event.type) and number not in duplicates:
                    # Also of people who are erased: that is what it tells.
                    batch.changes.append(Change(parsed, event, record.partition))
                if number in observed.erased:
                    # Kept nowhere, by profile either.
                    metrics.EVENTS_ERASED.inc(not is_change(event.type))
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
            occurrence = named(to_occurrence(record, event), actor.profile)
        except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
            self._fail(batch, record, event, failure, partition)
            return None
        return Item(record, event, partition, occurrence, actor, stages)

    async def _follow(self, batch: Batch, items: list[Item]) -> list[Item]:
        """Let passages follow the people before anybody is judged; return who is left to be.

        Of people who are erased nothing is, whatever came before that in the log.
        """
        gone: set[Someone] = set()
        for change in batch.changes:
            try:
                told = to_change(change.record, change.event)
                await self._identities.follow(told)
            except MeshError:
                raise
            except Exception as failure:  # noqa: BLE001 — one event must not stop its partition
                self._fail(batch, change.record, change.event, failure, change.partition)
                continue
            if isinstance(told, Erasure):
                gone |= {(told.workspace, one) for one in told.profiles}
        if not gone:
            return items
        batch.quarantined = [
            one for one in batch.quarantined if (one.workspace, one.profile) not in gone
        ]
        return [one for one in items if (one.record.workspace, _profile_id(one.event)) not in gone]

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
        recipients = recipients_of(items, catalogue)
        people = await self._profile.people(sorted(recipients)) if recipients else {}
        items, people, concerns, known = await self._know(
            items, people, catalogue, thorough=thorough, now=now
        )
        while True:
            ledger = Ledger(known.passages, known.last_entries)
            around_of: dict[UUID, dict[str, Person]] = {}
            failed: Item | None = None
            for item in items:
                event = item.occurrence
                book = catalogue.book(event.workspace)
                around = people_around(item, people, book)
                try:
                    judge_event(ledger, book, event, around, now=now)
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
        return Judged(effects, concerned, _before(known, concerns.guarded), known.turns), items

    async def _know(
        self,
        items: list[Item],
        people: dict[Someone, Person],
        catalogue: Catalogue,
        *,
        thorough: bool,
        now: datetime,
    ) -> tuple[list[Item], dict[Someone, Person], Concerns, Known]:
        """Return what judging is to know, with everybody under the id that passages are under.

        How somebody stands may be older or newer than what the log has told of people: what
        passages follow is what counts here, so that no two turns know one person by two names.
        """
        tried: set[Identity] = set()
        while True:
            concerns = concerns_of(items, people, catalogue, thorough=thorough)
            if not concerns.keys:
                return items, people, concerns, Known((), {}, {})
            asked = concerns.asked
            known = await self._store.know(
                concerns.keys,
                asked,
                [item.occurrence.uid for item in items],
                {item.partition for item in items},
                now=now,
            )
            unheard = {
                Identity(one[0], united[0], united[1:], 0)
                for one, united in asked.items()
                if united and one not in known.identities
            } - tried
            if unheard:
                # Profile has united them, the log has not told yet: do not wait for it.
                tried |= unheard
                for identity in unheard:
                    await self._identities.set(identity)
                continue
            if not known.identities:
                return items, people, concerns, known
            before = items, people
            items, people = renamed(items, people, known.identities)
            if items is before[0] and people is before[1]:
                return items, people, concerns.guarding(known.identities), known

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
