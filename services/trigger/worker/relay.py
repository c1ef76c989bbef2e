"""Carries released sends to throttle and delivery, and cancellations to delivery."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, wait_random_exponential

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import Aborted, MeshError, Unavailable
from mesh.names import format_name
from mesh.server import Stopping
from services.trigger.clients import Peers
from services.trigger.convert.sends import send_uid, to_send
from services.trigger.model import (
    Allowed,
    Deferred,
    DigestContent,
    Enrollment,
    EnrollmentState,
    Erasure,
    Exit,
    Key,
    Person,
    Release,
    Suppressed,
    ThrottleVerdict,
)
from services.trigger.rules import after_cancel, after_throttle, judge_owed, set_back
from services.trigger.store import EnrollmentStore
from services.trigger.worker.catalogue import Catalogues
from services.trigger.worker.spans import record_reserve

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
Send = tuple[Enrollment, Person]

# A peer that comes back is met within seconds, and not by all at once.
_WAIT = wait_random_exponential(multiplier=0.05, max=3)
_TRANSIENT = (Unavailable, Aborted)
# Of a digest whose campaign gathers no more.
_ITEMS_MAX = 50


class Relay:
    """Holds what is owed in memory as long as it lives; what it leaves is claimed by its lease."""

    def __init__(
        self,
        *,
        store: EnrollmentStore,
        peers: Peers,
        catalogues: Catalogues,
        clock: Clock,
        expect: Callable[[Enrollment], None],
        lease: timedelta,
        batch_max: int,
        owed_max: int,
        lanes: int,
        claim_every: timedelta,
        traced: bool,
    ) -> None:
        """Take what a relay needs; `expect` hears of passages that wait again."""
        self._store = store
        self._peers = peers
        self._catalogues = catalogues
        self._clock = clock
        self._expect = expect
        self._lease = lease
        self._batch_max = batch_max
        self._owed_max = owed_max
        self._lanes = lanes
        self._claim_every = claim_every
        self._traced = traced
        self._sends: deque[Send] = deque()
        self._cancels: deque[Enrollment] = deque()
        self._held: dict[tuple[Key, UUID], None] = {}
        self._owing = asyncio.Event()
        self._relieved = asyncio.Event()
        self._relieved.set()

    @property
    def owed(self) -> int:
        """How many sends and cancellations this worker holds."""
        return len(self._held)

    def offer(self, sends: Sequence[Send], cancels: Sequence[Enrollment] = ()) -> None:
        """Take sends that were released and cancellations that are owed; both are stored."""
        for send in sends:
            self._held[_name(send[0])] = None
            self._sends.append(send)
        for passage in cancels:
            # It may be held as a send too, on its way at this moment: both go their way.
            self._held[_name(passage)] = None
            self._cancels.append(passage)
        if self._sends or self._cancels:
            self._owing.set()
        if len(self._held) >= self._owed_max:
            self._relieved.clear()

    def drop(self, erasure: Erasure) -> None:
        """Let go of what people who are erased are owed, or began; what is under way goes on."""
        gone = {(erasure.workspace, one) for one in erasure.profiles}

        def erased(passage: Enrollment) -> bool:
            return not gone.isdisjoint(
                (
                    (passage.key.workspace, passage.key.profile),
                    (passage.key.workspace, passage.origin),
                    (passage.key.workspace, passage.event.profile),
                )
            )

        dropped = [one for one, _ in self._sends if erased(one)]
        dropped += [one for one in self._cancels if erased(one)]
        self._sends = deque(send for send in self._sends if not erased(send[0]))
        self._cancels = deque(one for one in self._cancels if not erased(one))
        self._let_go(dropped)

    async def relieved(self, stopping: Stopping) -> None:
        """Return when little enough is owed for more to be taken on."""
        while not self._relieved.is_set() and not stopping.is_set():
            try:
                async with asyncio.timeout(1):
                    await self._relieved.wait()
            except TimeoutError:
                continue

    async def run(self, stopping: Stopping) -> None:
        """Relay until told to stop; what is left then is claimed when its lease runs out."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._lanes):
                group.create_task(self._run_lane(stopping))
            group.create_task(self._run_claims(stopping))

    async def drain(self, stopping: Stopping) -> None:
        """Relay all that is held now."""
        while self._sends or self._cancels:
            await self._relay_some(stopping)

    async def claim(self) -> int:
        """Take over what another worker, or this one before a crash, left behind."""
        now = self._clock.now()
        claimed = await self._store.claim(
            now,
            lease_until=now + self._lease,
            limit=self._batch_max,
            held=[uid for _, uid in self._held],
        )
        sends = [one for one in claimed if one.state is EnrollmentState.SENDING]
        cancels = [one for one in claimed if one.state is EnrollmentState.CANCELING]
        if sends:
            people = await self._peers.profile.people(
                sorted({(one.key.workspace, one.origin) for one in sends})
            )
            catalogue = await self._catalogues.reload()
            windows = await self._store.windows(sends)
            released: list[Send] = []
            stopped: list[Enrollment] = []
            for passage in sends:
                plan = catalogue.plans.get((passage.key.workspace, passage.key.campaign))
                person = people[passage.key.workspace, passage.origin]
                try:
                    window = windows.get(_name(passage))
                    verdict = judge_owed(plan, passage, person, now=now, window=window)
                except Exception:  # it is claimed again when its lease runs out, until it expires
                    metrics.WORKER_FAILURES.labels(worker="relay").inc()
                    log.exception("send_not_judged", campaign=passage.key.campaign)
                    after = set_back(passage, now=now)
                    if after.state is EnrollmentState.SENDING:
                        continue
                    verdict = Exit(after.gates)
                match verdict:
                    case Release():
                        released.append((passage, person))
                    case Exit(gates):
                        canceling = EnrollmentState.CANCELING
                        stopped.append(replace(passage, gates=gates, state=canceling))
            written = await self._store.settle(stopped, lease_until=now + self._lease)
            cancels += [_stored(one) for one in stopped if _name(one) in written]
            self.offer(released)
        self.offer((), cancels)
        return len(claimed)

    async def _run_lane(self, stopping: Stopping) -> None:
        while not stopping.is_set():
            if not self._sends and not self._cancels:
                self._owing.clear()
                try:
                    async with asyncio.timeout(1):
                        await self._owing.wait()
                except TimeoutError:
                    continue
            await self._relay_some(stopping)

    async def _run_claims(self, stopping: Stopping) -> None:
        while not stopping.is_set():
            full = False
            try:
                if self.owed < self._owed_max:
                    full = await self.claim() >= self._batch_max
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="relay").inc()
                log.warning("claim_failed", reason=error.message)
            if not full:
                await stopping.wait(self._claim_every.total_seconds())

    async def _relay_some(self, stopping: Stopping) -> None:
        sends = [self._sends.popleft() for _ in range(min(self._batch_max, len(self._sends)))]
        cancels = [self._cancels.popleft() for _ in range(min(self._batch_max, len(self._cancels)))]
        try:
            if sends:
                await self._send(sends, stopping)
            if cancels:
                await self._cancel(cancels, stopping)
        except _Stopped:
            pass
        except Exception:
            # What is owed is stored: it is claimed again when its lease has run out.
            metrics.WORKER_FAILURES.labels(worker="relay").inc()
            log.exception("relay_failed", sends=len(sends), cancels=len(cancels))
        finally:
            self._let_go([*(one for one, _ in sends), *cancels])

    def _let_go(self, passages: Iterable[Enrollment]) -> None:
        for passage in passages:
            self._held.pop(_name(passage), None)
        if len(self._held) < self._owed_max:
            self._relieved.set()

    async def _send(self, sends: Sequence[Send], stopping: Stopping) -> None:
        """Reserve, create, settle. Each may be repeated without a second message."""
        if not sends:
            return
        try:
            start = self._clock.now()
            catalogue = self._catalogues.current
            asked = [
                to_send(passage, person, catalogue.settings(passage.key.workspace))
                for passage, person in sends
            ]
            verdicts = await self._again(stopping, lambda: self._peers.throttle.reserve(asked))
            end = self._clock.now()
            allowed = [
                (send, *one)
                for send, one, verdict in zip(asked, sends, verdicts, strict=True)
                if isinstance(verdict, Allowed)
            ]
            digests: dict[tuple[Key, UUID], DigestContent] = {}
            if allowed:
                digests = await self._again(stopping, lambda: self._digests(allowed))
                await self._again(stopping, lambda: self._peers.delivery.create(allowed, digests))
        except MeshError as error:
            await self._apart(sends, error, stopping)
            return
        now = self._clock.now()
        settled = [
            after_throttle(passage, verdict, now=now)
            for (passage, _), verdict in zip(sends, verdicts, strict=True)
        ]
        await self._again(stopping, lambda: self._store.settle(settled))
        words: dict[str, int] = defaultdict(int)
        for (passage, _), verdict, after in zip(sends, verdicts, settled, strict=True):
            word = _word(verdict)
            words[word] += 1
            if self._traced:
                record_reserve(passage, start, end, word)
            if after.state is EnrollmentState.WAITING:
                self._expect(after)
        _TOLD.inc(sum(one.count for one in digests.values()))
        for word, count in words.items():
            _outcomes[word].inc(count)

    async def _digests(
        self, sends: Sequence[tuple[object, Enrollment, Person]]
    ) -> dict[tuple[Key, UUID], DigestContent]:
        """Return what the windows among sends hold: once released they stay as they are."""
        plans = self._catalogues.current.plans
        asked: dict[tuple[Key, UUID], int] = {}
        for _, passage, _ in sends:
            if passage.digest_key is not None:
                plan = plans.get((passage.key.workspace, passage.key.campaign))
                digest = plan.digest if plan is not None else None
                asked[_name(passage)] = digest.items_max if digest is not None else _ITEMS_MAX
        return await self._store.contents(asked)

    async def _apart(self, sends: Sequence[Send], error: MeshError, stopping: Stopping) -> None:
        """Find the send that a peer refuses, so that it does not keep the others."""
        if len(sends) > 1:
            middle = len(sends) // 2
            await self._send(sends[:middle], stopping)
            await self._send(sends[middle:], stopping)
            return
        # It stays owed: whether the peer did its work before it failed, nobody knows. It is
        # claimed and judged again when its lease runs out, until it is taken or expires.
        campaign = sends[0][0].key.campaign
        log.error("send_refused", reason=error.message, campaign=campaign)
        metrics.WORKER_FAILURES.labels(worker="relay").inc()

    async def _cancel(self, cancels: Sequence[Enrollment], stopping: Stopping) -> None:
        items = [
            (
                send_uid(one.key.campaign, one.origin, one.event.uid, one.channel).bytes,
                format_name(one.key.workspace, "profiles", one.key.profile),
            )
            for one in cancels
        ]
        canceled = await self._again(stopping, lambda: self._peers.delivery.cancel(items))
        freed = [item for item, over in zip(items, canceled, strict=True) if over]
        if freed:
            # Also of those that were reserved and never created.
            await self._again(stopping, lambda: self._peers.throttle.release(freed))
        now = self._clock.now()
        settled = [
            after_cancel(passage, canceled=over, now=now)
            for passage, over in zip(cancels, canceled, strict=True)
        ]
        await self._again(stopping, lambda: self._store.settle(settled))

    async def _again(self, stopping: Stopping, call: Callable[[], Awaitable[_T]]) -> _T:
        """Do it until it is done: a peer that is away comes back."""
        async for attempt in AsyncRetrying(
            wait=_WAIT,
            retry=retry_if_exception_type(_TRANSIENT),
            stop=lambda _: stopping.is_set(),
            retry_error_cls=_Stopped,
        ):
            with attempt:
                result = await call()
                break
        return result


class _Stopped(RetryError):
    """Told to stop while a peer was away."""


def _name(passage: Enrollment) -> tuple[Key, UUID]:
    return passage.key, passage.event.uid


def _stored(passage: Enrollment) -> Enrollment:
    return replace(passage, revision=passage.revision + 1)


def _word(verdict: ThrottleVerdict) -> str:
    match verdict:
        case Allowed():
            return "allow"
        case Deferred():
            return "defer"
        case Suppressed():
            return "suppress"


_TOLD = metrics.DIGEST_EVENTS.labels(outcome="told")
_outcomes: Mapping[str, Counter] = {
    word: metrics.ENROLLMENTS.labels(outcome=outcome)
    for word, outcome in (("allow", "sent"), ("defer", "deferred"), ("suppress", "suppressed"))
}
