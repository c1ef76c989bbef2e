"""One channel's way from the queue to the provider. Lanes share nothing but the database."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

import structlog

from mesh.clock import Clock
from mesh.errors import Aborted, MeshError, Unavailable
from mesh.metrics import ATTEMPT_SECONDS, BATCH_SIZE, DELIVERIES, UNMADE, WORKER_FAILURES
from mesh.server import Stopping
from mesh.tracing import record_span, span_id
from services.delivery.model import (
    Answer,
    Channel,
    Claimed,
    Expired,
    GiveUp,
    Outcome,
    RetryAt,
    RetryPolicy,
    Sent,
    Settled,
    State,
    Unknown,
    Verdict,
)
from services.delivery.providers import Provider
from services.delivery.render import RenderUnavailable
from services.delivery.rules import postpone, settle
from services.delivery.store import DeliveryStore
from services.delivery.worker.handover import HandOvers
from services.delivery.worker.prepare import (
    DELIVER,
    RENDER,
    SEND,
    Prepared,
    Preparer,
    attempt_subject,
)
from services.delivery.worker.settler import Settler

log = structlog.get_logger(__name__)

_M = TypeVar("_M")

# Claimed, addressed and rendered together.
_BATCH_MAX = 500
# Weight of the latest answer in what a destination takes.
_SMOOTHING = 0.2
_SECONDS_LEAST = 0.001
# A mail that is marked before it is sent is unknown after a crash: few at a time.
_HAND_OVER_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """How much a lane takes on."""

    held_max: int = 4000
    """Deliveries in its hands."""
    in_flight_max: int = 32
    """Of one destination at once."""
    lease: timedelta = timedelta(minutes=2)
    timeout: timedelta = timedelta(seconds=10)
    """What the provider takes at most for one."""
    poll: timedelta = timedelta(seconds=1)


@dataclass(slots=True)
class _Destination(Generic[_M]):
    waiting: deque[Prepared[_M]] = field(default_factory=deque)
    senders: int = 0
    seconds: float = 0.0
    """What it took for one, lately."""


class Lane(Generic[_M]):
    """Claims, prepares, sends and settles the deliveries of one channel."""

    def __init__(
        self,
        channel: Channel,
        *,
        store: DeliveryStore,
        preparer: Preparer[_M],
        provider: Provider[_M],
        settler: Settler,
        clock: Clock,
        policy: RetryPolicy,
        limits: LaneLimits,
        draw: Callable[[], float],
    ) -> None:
        """Take everything it works with; `draw` gives the jitter, from 0 to 1."""
        self._channel = channel
        self._label = channel.name.lower()
        self._store = store
        self._preparer = preparer
        self._provider = provider
        self._settler = settler
        self._hand_overs = HandOvers(store, clock, timeout=limits.timeout)
        self._clock = clock
        self._policy = policy
        self._limits = limits
        self._draw = draw
        self._inbox: deque[Claimed] = deque()
        self._held = 0
        self._reserved = 0
        self._backlog = True
        self._wake = asyncio.Event()
        self._destinations: dict[str, _Destination[_M]] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._claims = BATCH_SIZE.labels(f"delivery_claim_{self._label}")
        self._seconds = ATTEMPT_SECONDS.labels(self._label)
        self._counters = {
            state: DELIVERIES.labels(self._label, state.name.lower()) for state in State
        }

    @property
    def repeat_safe(self) -> bool:
        """Whether the provider drops repeats."""
        return self._provider.repeat_safe

    @property
    def lease(self) -> timedelta:
        """How long a delivery is in its hands."""
        return self._limits.lease

    @property
    def held(self) -> int:
        """How many deliveries are in its hands."""
        return self._held

    def reserve(self, count: int) -> int:
        """Return for how many of `count` new deliveries there is room right now.

        None while older ones wait in the queue: they go first.
        """
        if self._backlog or self._stopping:
            return 0
        granted = max(0, min(count, self._limits.held_max - self._held - self._reserved))
        self._reserved += granted
        return granted

    def accept(self, deliveries: Sequence[Claimed], *, reserved: int) -> None:
        """Take deliveries that were created in its hands, and give back the reservation."""
        self._reserved -= reserved
        if deliveries:
            self._inbox.extend(deliveries)
            self._held += len(deliveries)
            self._wake.set()

    def recall(self, delivery_ids: Collection[UUID]) -> list[Claimed]:
        """Give up those that wait in its hands, and return them; none of them will be sent."""
        wanted = set(delivery_ids)
        recalled = [one for one in self._inbox if one.delivery_id in wanted]
        if recalled:
            self._inbox = deque(one for one in self._inbox if one.delivery_id not in wanted)
        for destination in self._destinations.values():
            waiting = destination.waiting
            found = [one for one in waiting if one.delivery.delivery_id in wanted]
            # The same queue: its senders hold on to it.
            for prepared in found:
                waiting.remove(prepared)
            recalled += [prepared.delivery for prepared in found]
        for _ in recalled:
            self._release()
        return recalled

    def notice(self) -> None:
        """Look into the queue soon: something is in it."""
        self._backlog = True
        self._wake.set()

    async def run(self, stopping: Stopping) -> None:
        """Work until it is time to end; then let what is in flight finish."""
        ender = asyncio.ensure_future(self._wake_at_end(stopping))  # noqa: TID251 — awaited below
        looked = self._clock.now() - self._limits.poll
        try:
            while not stopping.is_set():
                if self._backlog or self._clock.now() - looked >= self._limits.poll:
                    looked = self._clock.now()
                    await self.look()
                if await self.turn() or (self._backlog and self._room()):
                    continue
                await self._rest()
        finally:
            self._stopping = True
            ender.cancel()
            await asyncio.gather(ender, *self._senders, return_exceptions=True)
            self._give_back()

    async def look(self) -> int:
        """Claim what is due and fits; return how many."""
        wanted = min(self._room(), _BATCH_MAX)
        if wanted <= 0:
            return 0
        now = self._clock.now()
        try:
            claimed = await self._store.claim(
                self._channel,
                now=now,
                lease_end=now + self._limits.lease,
                limit=wanted,
                repeat_safe=self.repeat_safe,
            )
        except (Unavailable, Aborted) as error:
            self._failed("claim_failed", error)
            # Until the next poll.
            self._backlog = False
            return 0
        if claimed:
            self._claims.observe(len(claimed))
        self._backlog = len(claimed) == wanted
        self._inbox.extend(claimed)
        self._held += len(claimed)
        return len(claimed)

    async def turn(self) -> int:
        """Prepare a batch of what is in hand and give it to its destinations; return its size."""
        batch = [self._inbox.popleft() for _ in range(min(len(self._inbox), _BATCH_MAX))]
        if not batch:
            return 0
        now = self._clock.now()
        alive = []
        for delivery in batch:
            if delivery.expire_time <= now:
                self._settle(delivery, Expired(), tried=False)
            else:
                alive.append(delivery)
        if alive:
            try:
                await self._prepare(alive)
            except (MeshError, RenderUnavailable) as error:
                self._failed("prepare_failed", error)
                for delivery in alive:
                    self._postpone(delivery)
            except Exception:
                # A bug must not end the lane; these come back after their lease.
                WORKER_FAILURES.labels(f"delivery_{self._label}").inc()
                log.exception("prepare_crashed", deliveries=len(alive))
                self._held -= len(alive)
        return len(batch)

    async def drain(self) -> None:
        """Return when nothing is in flight any more. For tests and the end."""
        while self._senders:
            await asyncio.gather(*self._senders, return_exceptions=True)

    async def _prepare(self, deliveries: list[Claimed]) -> None:
        preparation = await self._preparer.prepare(deliveries)
        for delivery, reason in preparation.failed:
            UNMADE.labels(self._label, reason.partition(":")[0]).inc()
            self._settle(delivery, GiveUp(reason), tried=False)
        for prepared in preparation.ready:
            delivery = prepared.delivery
            if delivery.sampled and delivery.trace_id is not None:
                self._span(RENDER, delivery, preparation.begun, preparation.ended)
            destination = self._destinations.get(prepared.destination)
            if destination is None:
                destination = self._destinations[prepared.destination] = _Destination()
            destination.waiting.append(prepared)
        self._spread()
        for destination in self._destinations.values():
            self._shed(destination)

    def _spread(self) -> None:
        """Give every destination as many senders as it has work for, and may have."""
        for name, destination in list(self._destinations.items()):
            wanted = min(len(destination.waiting), self._limits.in_flight_max)
            for _ in range(wanted - destination.senders):
                destination.senders += 1
                task = asyncio.ensure_future(  # noqa: TID251 — held, and awaited at the end
                    self._send_all(name, destination)
                )
                self._senders.add(task)
                task.add_done_callback(self._senders.discard)

    async def _send_all(self, name: str, destination: _Destination[_M]) -> None:
        """Send what waits for a destination, one after the other."""
        waiting = destination.waiting
        try:
            while waiting and not self._stopping:
                if self._provider.repeat_safe:
                    await self._attempt(waiting.popleft(), destination)
                    self._shed(destination)
                    continue
                share = min(_HAND_OVER_MAX, -(-len(waiting) // max(1, self._limits.in_flight_max)))
                for prepared in await self._handed_over([waiting.popleft() for _ in range(share)]):
                    await self._attempt(prepared, destination)
                self._shed(destination)
        finally:
            destination.senders -= 1
            if not destination.senders and not waiting:
                self._destinations.pop(name, None)

    async def _handed_over(self, batch: list[Prepared[_M]]) -> list[Prepared[_M]]:
        """Record that a provider is about to get these; return those that still are ours.

        Dying between here and the settlement leaves them unknown; without this
        record a repeat could be a second message.
        """
        try:
            ours = await self._hand_overs.record([one.delivery for one in batch])
        except MeshError as error:
            self._failed("hand_over_failed", error)
            # Whether it is recorded nobody knows; that nothing was sent we do.
            for one in batch:
                self._postpone(one.delivery)
            return []
        found = [one for one in batch if one.delivery.delivery_id in ours]
        self._held -= len(batch) - len(found)
        return found

    async def _attempt(self, prepared: Prepared[_M], destination: _Destination[_M]) -> None:
        """Send one and settle it; whatever happens, its neighbours go on."""
        delivery = prepared.delivery
        begun = self._clock.now()
        if delivery.expire_time <= begun:
            self._settle(delivery, Expired(), tried=False)
            return
        if self._stopping or begun + self._limits.timeout >= delivery.lease_end:
            # Its lease could end in the middle: back into the queue, untouched.
            self._settle(delivery, RetryAt(begun), tried=False)
            return
        try:
            answer = await self._provider.send(prepared.message)
        except Exception:
            # A bug of the provider's code: nobody knows how far it came.
            WORKER_FAILURES.labels(f"delivery_{self._label}").inc()
            log.exception("attempt_crashed", delivery=str(delivery.delivery_id))
            answer = Answer(Outcome.NO_ANSWER, "attempt_crashed")
        ended = self._clock.now()
        seconds = (ended - begun).total_seconds()
        self._seconds.observe(seconds)
        destination.seconds += (seconds - destination.seconds) * _SMOOTHING
        verdict = settle(
            ended,
            answer.outcome,
            attempt=delivery.attempt_count + 1,
            policy=self._policy,
            repeat_safe=self._provider.repeat_safe,
            jitter=self._draw(),
            expire_time=delivery.expire_time,
            retry_after=answer.retry_after,
        )
        if delivery.sampled and delivery.trace_id is not None:
            self._send_span(delivery, begun, ended, answer)
        self._settle(delivery, verdict, tried=True, answer=answer)

    def _shed(self, destination: _Destination[_M]) -> None:
        """Put back what a slow destination cannot take in half a lease: others need the room."""
        waiting = destination.waiting
        half = self._limits.lease.total_seconds() / 2
        rounds = half / max(destination.seconds, _SECONDS_LEAST)
        for _ in range(len(waiting) - int(self._limits.in_flight_max * max(1.0, rounds))):
            self._postpone(waiting.pop().delivery)

    def _give_back(self) -> None:
        """Put back what was not begun: the next process need not wait for the lease to end."""
        now = self._clock.now()
        left = list(self._inbox)
        for destination in self._destinations.values():
            left += [prepared.delivery for prepared in destination.waiting]
        self._inbox.clear()
        self._destinations.clear()
        for delivery in left:
            self._settle(delivery, RetryAt(now), tried=False)

    def _postpone(self, delivery: Claimed) -> None:
        now = self._clock.now()
        verdict = postpone(
            now,
            tries=1,
            policy=self._policy,
            jitter=self._draw(),
            expire_time=delivery.expire_time,
        )
        self._settle(delivery, verdict, tried=False)

    def _settle(
        self, delivery: Claimed, verdict: Verdict, *, tried: bool, answer: Answer | None = None
    ) -> None:
        settled = _settled(delivery, verdict, tried=tried, answer=answer)
        self._settler.put(settled, self._release)
        self._counters[settled.state].inc()
        if settled.state is State.FAILED or settled.state is State.UNKNOWN:
            log.info(
                "delivery_ended",
                delivery=str(delivery.delivery_id),
                state=settled.state.name,
                error=settled.error,
            )
        if (
            delivery.sampled
            and delivery.trace_id is not None
            and settled.state is not State.PENDING
        ):
            self._deliver_span(delivery, settled)

    def _release(self) -> None:
        self._held -= 1
        if self._backlog:
            self._wake.set()

    def _room(self) -> int:
        return self._limits.held_max - self._held - self._reserved

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._limits.poll.total_seconds()):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _wake_at_end(self, stopping: Stopping) -> None:
        await stopping.wait()
        self._wake.set()

    def _failed(self, event: str, error: Exception) -> None:
        WORKER_FAILURES.labels(f"delivery_{self._label}").inc()
        log.warning(event, channel=self._label, problem=str(error))

    def _span(self, name: str, delivery: Claimed, start: datetime, end: datetime) -> None:
        assert delivery.trace_id is not None
        subject = delivery.delivery_id.bytes
        record_span(
            service="delivery",
            name=name,
            trace_id=delivery.trace_id,
            span_id=span_id(delivery.trace_id, name, attempt_subject(delivery)),
            parent_span_id=span_id(delivery.trace_id, DELIVER, subject),
            start=start,
            end=end,
        )

    def _send_span(self, delivery: Claimed, start: datetime, end: datetime, answer: Answer) -> None:
        assert delivery.trace_id is not None
        record_span(
            service="delivery",
            name=SEND,
            trace_id=delivery.trace_id,
            span_id=span_id(delivery.trace_id, SEND, attempt_subject(delivery)),
            parent_span_id=span_id(delivery.trace_id, DELIVER, delivery.delivery_id.bytes),
            start=start,
            end=end,
            attributes={"beckon.channel": self._label, "beckon.outcome": answer.outcome},
            error=None if answer.outcome is Outcome.ACCEPTED else answer.detail,
        )

    def _deliver_span(self, delivery: Claimed, settled: Settled) -> None:
        assert delivery.trace_id is not None
        record_span(
            service="delivery",
            name=DELIVER,
            trace_id=delivery.trace_id,
            span_id=span_id(delivery.trace_id, DELIVER, delivery.delivery_id.bytes),
            parent_span_id=delivery.parent_span_id,
            start=delivery.create_time,
            end=self._clock.now(),
            attributes={
                "beckon.workspace": delivery.workspace,
                "beckon.campaign": delivery.campaign,
                "beckon.delivery": str(delivery.delivery_id),
                "beckon.state": settled.state.name,
            },
            error=settled.error or None,
        )


def _settled(delivery: Claimed, verdict: Verdict, *, tried: bool, answer: Answer | None) -> Settled:
    detail = answer.detail if answer is not None else ""
    match verdict:
        case Sent():
            message_id = answer.provider_message_id if answer is not None else ""
            return Settled(delivery, State.SENT, None, tried, "", message_id)
        case RetryAt(time):
            return Settled(delivery, State.PENDING, time, tried, detail)
        case GiveUp(reason):
            error = f"{reason}: {detail}" if detail else reason
            return Settled(delivery, State.FAILED, None, tried, error)
        case Unknown():
            return Settled(delivery, State.UNKNOWN, None, tried, detail)
        case Expired():
            return Settled(delivery, State.EXPIRED, None, tried, detail)
