"""A turn: records of the log are observed, judged and committed with their positions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter
from uuid import UUID

from beckon.ingest.v1.event_pb2 import Event, LogRecord
from google.rpc.status_pb2 import Status

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.eventlog import Record
from services.trigger.clients import Observed, Profile
from services.trigger.convert.events import (
    profile_of,
    quarantined_record,
)
from services.trigger.convert.identities import is_change, to_change
from services.trigger.model import (
    Effects,
    Erasure,
)
from services.trigger.store import (
    CatalogueChanged,
    Conflict,
    LostPartition,
    TurnStore,
)
from services.trigger.worker import aside
from services.trigger.worker.batch import Batch, Change, Item, Judged, ReadRecord, Stages
from services.trigger.worker.catalogue import Catalogue, Catalogues
from services.trigger.worker.concerns import Someone
from services.trigger.worker.identities import Identities
from services.trigger.worker.judging import Judging
from services.trigger.worker.outcomes import Outcomes
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.relay import Relay
from services.trigger.worker.sorting import sort_out, to_item
from services.trigger.worker.spans import record_ignored, record_turn
from services.trigger.worker.timers import Timers

# Somebody changes campaigns or passages faster than we judge: give way for a moment.
_ATTEMPTS_MAX = 20


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
        tell: Callable[[], None],
    ) -> None:
        """Take what a turn needs; without a ratio no span goes anywhere."""
        self._store = store
        self._profile = profile
        self._catalogues = catalogues
        self._partitions = partitions
        self._identities = identities
        self._clock = clock
        self._lease = lease
        self._sample_below = None if trace_ratio is None else round(trace_ratio * 2**32)
        self._judging = Judging(profile=profile, identities=identities, clock=clock)
        self._outcomes = Outcomes(relay=relay, timers=timers, tell=tell)

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
            sorted({(record.workspace, profile_of(event)) for _, record, event, _ in items})
        )
        stages = Stages(append_time=None, read_time=self._clock.now())
        wanted: list[Item] = []
        types = self._catalogues.current.types
        for _, record, event, partition in items:
            if is_change(event.type):
                batch.changes.append(Change(record, event, partition))
                if event.type not in types:
                    continue
            actor = people[record.workspace, profile_of(event)]
            item = to_item(batch, record, event, partition, actor, stages, now=self._clock.now())
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
                aside.unreadable(batch, record, now=now)
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
            items = sort_out(
                batch,
                observed,
                types,
                times,
                sample_below=self._sample_below,
                now=self._clock.now(),
            )
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
                aside.failed(
                    batch,
                    change.record,
                    change.event,
                    failure,
                    change.partition,
                    now=self._clock.now(),
                )
                continue
            if isinstance(told, Erasure):
                gone |= {(told.workspace, one) for one in told.profiles}
        if not gone:
            return items
        batch.quarantined = [
            one for one in batch.quarantined if (one.workspace, one.profile) not in gone
        ]
        return [one for one in items if (one.record.workspace, profile_of(one.event)) not in gone]

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
            judged, items = await self._judging.judge(
                batch, items, catalogue, self._store, thorough=thorough
            )
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
                if self._sample_below is not None:
                    record_turn(judged.heard, judged.effects, begun, judged_at)
                self._outcomes.tell(judged)
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
