"""Releases passages whose time has come, each judged again."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.eventlog import EventLog
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.clients import Profile
from services.trigger.model import Enrollment, EnrollmentState, Exit, Hold, Person, Release
from services.trigger.rules import judge_release, set_back
from services.trigger.store import CatalogueChanged, EnrollmentStore
from services.trigger.worker.catalogue import Catalogues
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.spans import record_wait

if TYPE_CHECKING:
    from services.trigger.worker.relay import Relay

log = structlog.get_logger(__name__)

# Other workers begin passages of our people too: they are found by looking.
_LOOK = timedelta(seconds=1)
_FAILED_SECONDS = 1.0
# How soon the log is asked again when what is unread in it holds a passage back.
_BEHIND_SECONDS = 0.02
_ATTEMPTS_MAX = 20


class Timers:
    """Fires the timers of the people whose partitions this worker holds.

    None fires before all that the log had when it was due is judged: what is behind, or was
    away, still lets every exception stop its message.
    """

    def __init__(
        self,
        *,
        store: EnrollmentStore,
        profile: Profile,
        catalogues: Catalogues,
        partitions: Partitions,
        log_: EventLog,
        clock: Clock,
        lease: timedelta,
        batch_max: int,
        traced: bool,
    ) -> None:
        """Take what timers need; `relay` is to be set before they run."""
        self._store = store
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
        self.relay: Relay

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
        due = await self._store.due(until, limit=self._batch_max)
        if due:
            await self._fire(due)
        return len(due)

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
                    await stopping.wait(_BEHIND_SECONDS)
                return
            before = self._next
            await self._wake.wait(stopping, seconds=left.total_seconds())
            if self._next == before or stopping.is_set():
                return

    async def _fire(self, due: Sequence[Enrollment]) -> None:
        """Gather how the people stand now, judge, commit."""
        people = await self._profile.people(
            sorted({(one.key.workspace, one.key.profile) for one in due})
        )
        for _ in range(_ATTEMPTS_MAX):
            catalogue = self._catalogues.current
            if not catalogue.version:
                catalogue = await self._catalogues.reload()
            now = self._clock.now()
            after: list[Enrollment] = []
            for passage in due:
                plan = catalogue.plans.get((passage.key.workspace, passage.key.campaign))
                person = people[passage.key.workspace, passage.key.profile]
                try:
                    verdict = judge_release(plan, passage, person, now=now)
                except Exception:  # one passage must not stop all timers
                    metrics.WORKER_FAILURES.labels(worker="timers").inc()
                    log.exception("passage_not_judged", campaign=passage.key.campaign)
                    after.append(set_back(passage, now=now))
                    continue
                match verdict:
                    case Release(released):
                        after.append(released)
                    case Hold():
                        after.append(replace(passage, wake_time=None))
                    case Exit(gates):
                        after.append(replace(passage, state=EnrollmentState.EXITED, gates=gates))
            try:
                written = await self._store.settle(
                    after, lease_until=now + self._lease, catalogue_version=catalogue.version
                )
            except CatalogueChanged:
                await self._catalogues.reload()
                continue
            self._follow_up([one for one in after if (one.key, one.event.uid) in written], people)
            return
        # Others change campaigns faster than we judge: the next turn finds the same passages.
        await asyncio.sleep(0)

    def _follow_up(
        self, passages: Sequence[Enrollment], people: dict[tuple[str, str], Person]
    ) -> None:
        released: list[tuple[Enrollment, Person]] = []
        for passage in passages:
            if passage.state is EnrollmentState.SENDING:
                if self._traced:
                    record_wait(passage, passage.release_time or passage.due_time)
                stored = replace(passage, revision=passage.revision + 1)
                released.append((stored, people[passage.key.workspace, passage.key.profile]))
            elif passage.state is EnrollmentState.EXITED:
                metrics.ENROLLMENTS.labels(outcome="exited").inc()
        metrics.BATCH_SIZE.labels(worker="timers").observe(len(passages))
        self.relay.offer(released)
