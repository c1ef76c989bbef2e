"""Goes through the audiences of broadcasts, each person once, whatever crashes."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason
from beckon.profile.v1 import watch_service_pb2 as watch_pb
from beckon.trigger.v1 import broadcast_service_pb2 as pb

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound
from mesh.postgres import Connection
from mesh.server import Stopping
from mesh.wake import Wake
from services.trigger.clients import Delivery, Profile
from services.trigger.convert.broadcasts import event_for, planned, to_account
from services.trigger.convert.schedules import audience_request
from services.trigger.model import (
    Broadcast,
    BroadcastState,
    CampaignState,
    Candidate,
    EnrollmentState,
    Plan,
)
from services.trigger.rules import next_planned
from services.trigger.rules.gates import refused
from services.trigger.store import BroadcastStore, EnrollmentStore, RateStore, Superseded, advance
from services.trigger.worker.admissions import Admissions
from services.trigger.worker.catalogue import Catalogues
from services.trigger.worker.relay import Relay

log = structlog.get_logger(__name__)

# Other processes plan and tell too: what they do is found by looking.
_LOOK_SECONDS = 1.0
_FAILED_SECONDS = 1.0
# So many pages of one broadcast, then another that waits has its turn.
_PAGES_MAX = 40
# While its campaign is paused, or somebody is pending.
_REST = timedelta(seconds=1)
# What is wrong with an audience somebody has to mend.
_WRONG = timedelta(seconds=10)
_LEAVE_MAX = 500
_OURS = "it cannot be judged for a failure of ours, which the log of trigger tells"


class Broadcasts:
    """Plans, begins, goes through and closes broadcasts; several workers may."""

    def __init__(
        self,
        *,
        store: BroadcastStore,
        enrollments: EnrollmentStore,
        admissions: Admissions,
        catalogues: Catalogues,
        profile: Profile,
        delivery: Delivery,
        relay: Relay,
        rates: RateStore,
        clock: Clock,
        lanes: int,
        lease: timedelta,
    ) -> None:
        """Take what is needed; so many `lanes` go through a broadcast each.

        Who has told nothing of a page for a `lease` has lost its broadcast to another.
        """
        self._store = store
        self._enrollments = enrollments
        self._admissions = admissions
        self._catalogues = catalogues
        self._profile = profile
        self._delivery = delivery
        self._relay = relay
        self._rates = rates
        self._clock = clock
        self._lanes = lanes
        self._lease = lease
        self._wakes = [Wake() for _ in range(lanes)]

    def ring(self) -> None:
        """Hear that there is a broadcast to look at."""
        for wake in self._wakes:
            wake.ring()

    async def run(self, stopping: Stopping) -> None:
        """Work until told to stop."""
        async with asyncio.TaskGroup() as group:
            for lane in range(self._lanes):
                group.create_task(self._run_lane(lane, stopping))

    async def run_once(self, stopping: Stopping) -> bool:
        """Look at one broadcast; say whether there was one."""
        now = self._clock.now()
        broadcast = await self._store.claim(now, look_again=now + self._lease)
        if broadcast is None:
            return False
        try:
            # Who went on with it meanwhile, or ended it, sees to the rest.
            with suppress(Superseded):
                await self._look_at(broadcast, stopping)
        except MeshError:
            raise
        except Exception:
            await self._store.rest(broadcast.id, self._clock.now() + _WRONG, error=_OURS)
            raise
        return True

    async def plan(self) -> None:
        """Have every scheduled campaign go out at its next time."""
        catalogue = self._catalogues.current
        if not catalogue.version:
            catalogue = await self._catalogues.reload()
        scheduled = {
            name: plan for name, plan in catalogue.plans.items() if plan.schedule is not None
        }
        if not scheduled:
            return
        latest = await self._store.latest(scheduled)
        for name, plan in scheduled.items():
            begun, at = latest.get(name, (None, None))
            launched = plan.launch_time or self._clock.now()
            time = next_planned(plan, launched=launched, after=begun)
            wanted = None if time is None else planned(plan, time)
            if (None if wanted is None else wanted.id) != at:
                await self._store.plan(*name, wanted)

    async def account(self, broadcast: Broadcast) -> pb.Broadcast.Account:
        """Return where everybody is whom a broadcast has come to."""
        if broadcast.account is not None:
            return pb.Broadcast.Account.FromString(broadcast.account)
        # In this order: whose delivery is counted has her passage in the tally.
        sent, failed = await self._delivery.count(broadcast.id)
        return to_account(await self._store.tally(broadcast.id), sent, failed)

    async def _run_lane(self, lane: int, stopping: Stopping) -> None:
        while not stopping.is_set():
            try:
                await self._relay.relieved(stopping)
                if not lane:
                    await self.plan()
                if await self.run_once(stopping):
                    continue
            except MeshError as error:
                metrics.WORKER_FAILURES.labels(worker="broadcasts").inc()
                log.warning("broadcasts_failed", reason=error.message)
                await stopping.wait(_FAILED_SECONDS)
                continue
            except Exception:  # one broadcast must not stop the others, nor the worker
                metrics.WORKER_FAILURES.labels(worker="broadcasts").inc()
                log.exception("broadcast_not_judged")
                await stopping.wait(_FAILED_SECONDS)
                continue
            await self._wakes[lane].wait(stopping, seconds=await self._until_next())

    async def _until_next(self) -> float:
        found = await self._store.next_look()
        if found is None:
            return _LOOK_SECONDS
        left = (found - self._clock.now()).total_seconds()
        return min(_LOOK_SECONDS, max(left, 0.0))

    async def _look_at(self, broadcast: Broadcast, stopping: Stopping) -> None:
        plan = self._catalogues.current.plans.get((broadcast.event.workspace, broadcast.campaign))
        if plan is None:
            # It may have been launched, or archived, a moment ago.
            catalogue = await self._catalogues.reload()
            plan = catalogue.plans.get((broadcast.event.workspace, broadcast.campaign))
        if broadcast.state is BroadcastState.CANCELED:
            await self._leave(broadcast)
        elif broadcast.counted:
            await self._close(broadcast, BroadcastState.DONE)
        elif plan is None:
            await self._cancel(broadcast)
        elif plan.state is not CampaignState.ACTIVE:
            await self._rest(broadcast)
        elif not broadcast.audience:
            await self._begin(broadcast, plan)
        else:
            await self._go_through(broadcast, plan, stopping)

    async def _begin(self, broadcast: Broadcast, plan: Plan) -> None:
        audience = audience_request(plan, broadcast.event).SerializeToString(deterministic=True)
        if await self._store.begin(broadcast, audience):
            log.info("broadcast_begun", broadcast=str(broadcast.id), campaign=broadcast.campaign)
            await self._store.rest(broadcast.id, self._clock.now())
        else:
            await self._rest(broadcast)

    async def _go_through(self, broadcast: Broadcast, plan: Plan, stopping: Stopping) -> None:
        request = watch_pb.StreamAudienceRequest.FromString(broadcast.audience)
        request.cursor = broadcast.cursor
        pages = 0
        try:
            async for page in self._profile.audience(request):
                candidates = [
                    Candidate(event_for(broadcast, person), person)
                    for person in (one.person for one in page.found)
                    if broadcast.planned
                    or plan.include_actor
                    or person.profile != broadcast.event.profile
                ]
                await self._admit(broadcast, candidates, page.cursor)
                broadcast = replace(broadcast, cursor=page.cursor)
                pages += 1
                await self._relay.relieved(stopping)
                if stopping.is_set() or pages >= _PAGES_MAX:
                    await self._store.rest(broadcast.id, self._clock.now())
                    return
            await self._admit(broadcast, [], broadcast.cursor, counted=True)
        except (NotFound, FailedPrecondition, InvalidArgument) as error:
            await self._complain(broadcast, error)
            return
        await self._store.rest(broadcast.id, self._clock.now())

    async def _admit(
        self,
        broadcast: Broadcast,
        candidates: list[Candidate],
        cursor: str,
        *,
        counted: bool = False,
    ) -> None:
        look_again = self._clock.now() + self._lease

        async def move(connection: Connection) -> None:
            await advance(connection, broadcast, cursor, counted=counted, look_again=look_again)

        await self._admissions.admit(
            broadcast.event.workspace,
            broadcast.campaign,
            candidates,
            broadcast=broadcast.id,
            active=True,
            beside=move,
        )
        metrics.BROADCAST_RECIPIENTS.inc(len(candidates))

    async def _complain(self, broadcast: Broadcast, error: MeshError) -> None:
        if error.reason == ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID:
            # Of other keys: who was met is met again, and has had her passage.
            await self._store.restart(broadcast)
            await self._store.rest(broadcast.id, self._clock.now())
            return
        workspace = broadcast.event.workspace
        plan = (await self._catalogues.reload()).plans.get((workspace, broadcast.campaign))
        if plan is None or plan.state is not CampaignState.ACTIVE:
            await self._rest(broadcast)
            return
        log.warning("broadcast_stands_still", broadcast=str(broadcast.id), reason=error.message)
        await self._store.rest(broadcast.id, self._clock.now() + _WRONG, error=error.message)

    async def _rest(self, broadcast: Broadcast) -> None:
        await self._store.rest(broadcast.id, self._clock.now() + _REST)

    async def _cancel(self, broadcast: Broadcast) -> None:
        """End what is left of a broadcast with its campaign."""
        workspace, now = broadcast.event.workspace, self._clock.now()
        await self._store.cancel(workspace, broadcast.campaign, broadcast.id, now)

    async def _leave(self, broadcast: Broadcast) -> None:
        """Let those leave who wait for a message of a cancelled broadcast."""
        while waiting := await self._store.waiting(broadcast.id, limit=_LEAVE_MAX):
            now = self._clock.now()
            gate = refused("broadcast", "cancelled", now)
            gone = [
                replace(one, state=EnrollmentState.EXITED, gates=(*one.gates, gate))
                for one in waiting
            ]
            written = await self._enrollments.settle(gone)
            metrics.ENROLLMENTS.labels(outcome="exited").inc(len(written))
            await self._store.rest(broadcast.id, now + self._lease)
        # What was reserved for them is free for the next.
        workspace = broadcast.event.workspace
        await self._rates.give_back(workspace, broadcast.campaign, self._clock.now())
        await self._close(broadcast, BroadcastState.CANCELED)

    async def _close(self, broadcast: Broadcast, state: BroadcastState) -> None:
        """Write what it came to, once nobody is pending."""
        account = None
        if not await self._store.has_open(broadcast.id):
            account = await self.account(broadcast)
        now = self._clock.now()
        if account is None or account.pending_count:
            # A million take seconds to count: not every second.
            size = 0 if account is None else account.audience_count
            await self._store.rest(broadcast.id, now + max(_REST, timedelta(seconds=size / 20_000)))
            return
        await self._store.finish(
            broadcast, state, account.SerializeToString(deterministic=True), now
        )
        log.info("broadcast_ended", broadcast=str(broadcast.id), audience=account.audience_count)
