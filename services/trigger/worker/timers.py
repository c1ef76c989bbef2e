"""Releases passages whose time has come, each judged again."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.eventlog import EventLog
from mesh.ids import shard_of
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.clients import EventQuery, Profile
from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Exit,
    Hold,
    Identity,
    Key,
    Occurrence,
    Person,
    Plan,
    Release,
    WaitOn,
    WindowSummary,
)
from services.trigger.rules import (
    asks_for_events,
    asks_for_slot,
    at_slot,
    interval_of,
    judge_release,
    plan_for,
    set_back,
    stopped_meanwhile,
)
from services.trigger.store import CatalogueChanged, EnrollmentStore, PositionStore, RateStore
from services.trigger.worker.catalogue import Catalogue, Catalogues
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.spans import record_wait

if TYPE_CHECKING:
    from services.trigger.worker.identities import Identities
    from services.trigger.worker.relay import Relay

log = structlog.get_logger(__name__)

# Other workers begin passages of our people too: they are found by looking.
_LOOK = timedelta(seconds=1)
_FAILED_SECONDS = 1.0
# How soon the log is asked again when what is unread in it holds a passage back.
_BEHIND_SECONDS = 0.02
# How soon those are looked at again of whom the log has yet to tell who they are.
_HELD_SECONDS = 0.2
# As many are looked at beside a batch, which asks profile about each.
_HOLDS_MAX = 5000
_ATTEMPTS_MAX = 20
# For so long the log may take to tell that somebody goes by another id.
_HELD_MAX = timedelta(seconds=60)


class Timers:
    """Fires the timers of the people whose partitions this worker holds.

    None fires before all that the log had when it was due is judged: what is behind, or was
    away, still lets every exception stop its message.
    """

    def __init__(
        self,
        *,
        store: EnrollmentStore,
        rates: RateStore,
        profile: Profile,
        catalogues: Catalogues,
        partitions: Partitions,
        positions: PositionStore,
        log_: EventLog,
        clock: Clock,
        lease: timedelta,
        batch_max: int,
        traced: bool,
    ) -> None:
        """Take what timers need; `relay` and `identities` are to be set before they run."""
        self._store = store
        self._rates = rates
        self._positions = positions
        self._log = log_
        self._profile = profile
        self._catalogues = catalogues
        self._partitions = partitions
        self._clock = clock
        self._lease = lease
        self._batch_max = batch_max
        self._traced = traced
        self._wake = Wake()
        self._next: datetime | None = None
        self._behind = False
        self._holds = 0
        # Since when passages are held back whose people go by other ids than they do.
        self._held: dict[tuple[Key, UUID], datetime] = {}
        self.relay: Relay
        self.identities: Identities

    def expect(self, wake_time: datetime) -> None:
        """Hear that a passage waits until then."""
        if self._next is None or wake_time < self._next:
            self._next = wake_time
            self._wake.ring()

    def expect_passage(self, passage: Enrollment) -> None:
        """Hear that a passage waits."""
        if passage.wake_time is not None:
            self.expect(passage.wake_time)

    async def run(self, stopping: Stopping) -> None:
        """Fire what is due, exactly when it is, until told to stop."""
        while not stopping.is_set():
            await self.relay.relieved(stopping)
            try:
                fired = await self.run_once()
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="timers").inc()
                log.warning("timers_failed", reason=error.message)
                await stopping.wait(_FAILED_SECONDS)
                continue
            if fired < self._batch_max:
                await self._wait(stopping)

    async def run_once(self) -> int:
        """Fire what is due now, at most one batch; return how many were looked at."""
        until = await self._judged_until()
        if not until:
            return 0
        # Those that are held back are the oldest: they must not take the places of all others.
        due = await self._store.due(until, limit=self._batch_max + min(self._holds, _HOLDS_MAX))
        return await self._fire(due) if due else 0

    async def _judged_until(self) -> dict[int, datetime]:
        """Return, per partition held, up to when nothing in the log is left to be judged."""
        positions = self._partitions.positions()
        now = self._clock.now()
        if not positions:
            return {}
        # In this order: what is appended after we asked came later than `now`.
        unread = await self._log.oldest_unread(positions)
        until = {
            partition: min(now, unread[partition] - timedelta.resolution)
            if partition in unread
            else now
            for partition in positions
        }
        self._behind = min(until.values()) < now
        return until

    async def _wait(self, stopping: Stopping) -> None:
        self._next = None
        try:
            found = await self._store.next_wake(self._partitions.held)
        except MeshError:
            found = None
        if found is not None and (self._next is None or found < self._next):
            self._next = found
        # Rung when something earlier is expected: then the time is reckoned anew.
        for _ in range(2):
            now = self._clock.now()
            left = _LOOK if self._next is None else min(_LOOK, self._next - now)
            if left <= timedelta(0):
                if self._behind:
                    await stopping.wait(_HELD_SECONDS if self._holds else _BEHIND_SECONDS)
                return
            before = self._next
            await self._wake.wait(stopping, seconds=left.total_seconds())
            if self._next == before or stopping.is_set():
                return

    async def _fire(self, due: Sequence[Enrollment]) -> int:
        """Gather how the people stand now, judge, commit; return how many were judged."""
        # By the id that each was begun under: the person may have been parted since.
        people = await self._profile.people(
            sorted({(one.key.workspace, one.origin) for one in due})
        )
        due = await self._ready(due, people)
        if not due:
            return 0
        for _ in range(_ATTEMPTS_MAX):
            catalogue = self._catalogues.current
            if not catalogue.version:
                catalogue = await self._catalogues.reload()
            # By the campaigns they are judged with: others have other exceptions.
            events = await self._missed(due, people, catalogue)
            # After the passages, which whatever changes a window changes too.
            windows = await self._store.windows(due)
            now = self._clock.now()
            after = [
                _judged(
                    catalogue.plans.get((one.key.workspace, one.key.campaign)),
                    one,
                    people[one.key.workspace, one.origin],
                    events.get(_name(one), ()),
                    windows.get(_name(one)),
                    now,
                )
                for one in due
            ]
            after = await self._paced(due, after, catalogue, now)
            try:
                written = await self._store.settle(
                    after, lease_until=now + self._lease, catalogue_version=catalogue.version
                )
            except CatalogueChanged:
                await self._catalogues.reload()
                continue
            self._follow_up([one for one in after if (one.key, one.event.uid) in written], people)
            return len(due)
        # Others change campaigns faster than we judge: the next turn finds the same passages.
        await asyncio.sleep(0)
        return len(due)

    async def _paced(
        self,
        due: Sequence[Enrollment],
        after: list[Enrollment],
        catalogue: Catalogue,
        now: datetime,
    ) -> list[Enrollment]:
        """Give every message that may go out its slot, where its campaign has a rate."""
        asking: dict[tuple[str, str], list[int]] = {}
        for at, (before, one) in enumerate(zip(due, after, strict=True)):
            plan = catalogue.plans.get((one.key.workspace, one.key.campaign))
            if plan is None or one.state is not EnrollmentState.SENDING:
                continue
            if before.slot_time is not None and before.slot_time > now:
                # Woken before its time, as everybody is when a campaign goes on.
                after[at] = at_slot(before, one, before.slot_time, now)
            elif asks_for_slot(plan, before, now=now):
                asking.setdefault((one.key.workspace, one.key.campaign), []).append(at)
        if not asking:
            return after
        intervals = {name: interval_of(catalogue.plans[name]) for name in asking}
        wanted = {name: (len(places), intervals[name]) for name, places in asking.items()}
        first = await self._rates.take(wanted, now)
        for name, places in asking.items():
            # In the order they are due, as they come.
            for number, at in enumerate(places):
                slot = first[name] + number * intervals[name]
                after[at] = at_slot(due[at], after[at], slot, now)
        return after

    async def _ready(
        self, due: Sequence[Enrollment], people: Mapping[tuple[str, str], Person]
    ) -> list[Enrollment]:
        """Return those that may be judged; the others are due again at once, or soon.

        Whose person goes by another id than the passage waits until the log has told: then it is
        judged with all that she did under the others. Whose person has ids in other partitions
        waits until those are judged as far.
        """
        names = {_name(one) for one in due}
        self._held = {name: since for name, since in self._held.items() if name in names}
        now = self._clock.now()
        behind = await self._behind_of(due, people)
        ready: list[Enrollment] = []
        held: list[Enrollment] = []
        moved: set[Identity] = set()
        for passage in due:
            person = people[passage.key.workspace, passage.origin]
            if person.profile != passage.key.profile:
                since = self._held.setdefault(_name(passage), now)
                if now - since >= _HELD_MAX:
                    ids = {*person.members, passage.origin, person.profile}
                    moved.add(
                        Identity(passage.key.workspace, person.profile, tuple(sorted(ids)), 0)
                    )
                    self._held[_name(passage)] = now
                held.append(passage)
            elif behind and self._waits_for(passage, person, behind):
                held.append(passage)
            else:
                ready.append(passage)
        for identity in moved:
            await self._overrule(identity)
        # They are not counted as work done, so that the next look is a moment away.
        self._holds = len(held)
        self._behind = self._behind or bool(held)
        return ready

    async def _overrule(self, identity: Identity) -> None:
        """Do as profile says, which was asked just now: the log should have told by now."""
        try:
            await self.identities.overrule(identity)
        except Exception:  # one person must not stop all timers: she is tried again in a minute
            metrics.WORKER_FAILURES.labels(worker="timers").inc()
            log.exception("person_not_overruled")

    async def _behind_of(
        self, due: Sequence[Enrollment], people: Mapping[tuple[str, str], Person]
    ) -> dict[int, datetime]:
        """Return since when partitions are unread in which people of `due` have other ids."""
        wanted = {
            self._partition(one.key.workspace, member)
            for one in due
            for member in people[one.key.workspace, one.origin].members
        }
        unread: dict[int, datetime] = {}
        if wanted:
            positions = await self._positions.read(sorted(wanted))
            unread = await self._log.oldest_unread(positions)
        return unread

    def _waits_for(
        self, passage: Enrollment, person: Person, behind: Mapping[int, datetime]
    ) -> bool:
        due = passage.wake_time or passage.due_time
        return any(
            (since := behind.get(self._partition(passage.key.workspace, member))) is not None
            and since <= due
            for member in person.members
        )

    def _partition(self, workspace: str, profile: str) -> int:
        return shard_of(workspace, profile) % self._log.partitions

    async def _missed(
        self,
        due: Sequence[Enrollment],
        people: Mapping[tuple[str, str], Person],
        catalogue: Catalogue,
    ) -> dict[tuple[Key, UUID], list[Occurrence]]:
        """Return what people did that other partitions may have judged before a passage began."""
        queries: dict[tuple[Key, UUID], EventQuery] = {}
        for passage in due:
            plan = catalogue.plans.get((passage.key.workspace, passage.key.campaign))
            person = people[passage.key.workspace, passage.origin]
            if plan is not None and asks_for_events(plan, passage, person):
                queries[_name(passage)] = EventQuery(
                    passage.key.workspace,
                    passage.key.profile,
                    frozenset(rule.event_type for rule in plan_for(plan, passage).exceptions),
                    passage.event.occur_time,
                )
        if not queries:
            return {}
        found = await self._profile.events(list(queries.values()))
        return dict(zip(queries, found, strict=True))

    def _follow_up(
        self, passages: Sequence[Enrollment], people: dict[tuple[str, str], Person]
    ) -> None:
        released: list[tuple[Enrollment, Person]] = []
        for passage in passages:
            if passage.state is EnrollmentState.SENDING:
                if self._traced:
                    record_wait(passage, passage.release_time or passage.due_time)
                stored = replace(passage, revision=passage.revision + 1)
                released.append((stored, people[passage.key.workspace, passage.origin]))
            elif passage.state is EnrollmentState.EXITED:
                metrics.ENROLLMENTS.labels(outcome="exited").inc()
        metrics.BATCH_SIZE.labels(worker="timers").observe(len(passages))
        self.relay.offer(released)


def _judged(
    plan: Plan | None,
    passage: Enrollment,
    person: Person,
    events: Sequence[Occurrence],
    window: WindowSummary | None,
    now: datetime,
) -> Enrollment:
    """Return the passage as it is to stand, now that its time has come."""
    try:
        verdict = judge_release(plan, passage, person, now=now, window=window)
        if plan is not None and events and isinstance(verdict, Release | WaitOn):
            verdict = stopped_meanwhile(plan, passage, events, person, now=now) or verdict
    except Exception:  # one passage must not stop all timers
        metrics.WORKER_FAILURES.labels(worker="timers").inc()
        log.exception("passage_not_judged", campaign=passage.key.campaign)
        return set_back(passage, now=now)
    match verdict:
        case Release(after) | WaitOn(after):
            return after
        case Hold():
            return replace(passage, wake_time=None)
        case Exit(gates):
            return replace(passage, state=EnrollmentState.EXITED, gates=gates)


def _name(passage: Enrollment) -> tuple[Key, UUID]:
    return passage.key, passage.event.uid
