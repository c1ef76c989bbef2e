"""The parts of the worker, put together; several processes may run one each."""

import asyncio
from uuid import uuid4

from mesh.clock import Clock
from mesh.eventlog import EventLog
from mesh.postgres import Database
from mesh.server import Stopping
from services.trigger.clients import Peers
from services.trigger.config import WorkerSettings
from services.trigger.store import (
    BackfillStore,
    BroadcastStore,
    CampaignStore,
    EnrollmentStore,
    IdentityStore,
    NoticeStore,
    PositionStore,
    QuarantineStore,
    RateStore,
    RequestStore,
    TurnStore,
    WatchStore,
)
from services.trigger.worker.admissions import Admissions
from services.trigger.worker.backfills import Backfills
from services.trigger.worker.broadcasts import Broadcasts
from services.trigger.worker.catalogue import Catalogues
from services.trigger.worker.housekeeping import Housekeeping
from services.trigger.worker.identities import Identities
from services.trigger.worker.lanes import Lane
from services.trigger.worker.notices import Notices
from services.trigger.worker.outcomes import Outcomes
from services.trigger.worker.partitions import Partitions
from services.trigger.worker.relay import Relay
from services.trigger.worker.replays import Replays
from services.trigger.worker.timers import Timers
from services.trigger.worker.turns import Turns
from services.trigger.worker.watches import WatchSweep


class Worker:
    """Reads, judges, waits and relays."""

    def __init__(
        self,
        database: Database,
        event_log: EventLog,
        peers: Peers,
        clock: Clock,
        settings: WorkerSettings,
        *,
        name: str = "",
        trace_ratio: float | None = None,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        count = event_log.partitions
        self._positions = PositionStore(database)
        self._count = count
        enrollments = EnrollmentStore(database, partitions=count)
        self.catalogues = Catalogues(CampaignStore(database))
        self.partitions = Partitions(
            self._positions,
            clock,
            worker=name or str(uuid4()),
            count=count,
            lease=settings.partition_lease,
        )
        self.timers = Timers(
            store=enrollments,
            rates=RateStore(database),
            profile=peers.profile,
            catalogues=self.catalogues,
            partitions=self.partitions,
            positions=self._positions,
            log_=event_log,
            clock=clock,
            lease=settings.send_lease,
            batch_max=settings.timer_batch,
            traced=trace_ratio is not None,
        )
        self.relay = Relay(
            store=enrollments,
            peers=peers,
            catalogues=self.catalogues,
            clock=clock,
            expect=self.timers.expect_passage,
            lease=settings.send_lease,
            batch_max=settings.relay_batch,
            owed_max=settings.owed_max,
            lanes=settings.relay_lanes,
            claim_every=settings.claim_every,
            traced=trace_ratio is not None,
        )
        self.timers.relay = self.relay
        self.notices = Notices(store=NoticeStore(database), peers=peers, clock=clock)
        self.identities = Identities(
            store=IdentityStore(database, partitions=count),
            profile=peers.profile,
            catalogues=self.catalogues,
            clock=clock,
            lease=settings.send_lease,
            expect=self.timers.expect_passage,
            owe=self.notices.owe,
            drop=self.relay.drop,
        )
        self.timers.identities = self.identities
        self.admissions = Admissions(
            store=TurnStore(database),
            catalogues=self.catalogues,
            identities=self.identities,
            outcomes=Outcomes(relay=self.relay, timers=self.timers),
            clock=clock,
            lease=settings.send_lease,
        )
        self.broadcasts = Broadcasts(
            store=BroadcastStore(database),
            enrollments=enrollments,
            admissions=self.admissions,
            catalogues=self.catalogues,
            profile=peers.profile,
            delivery=peers.delivery,
            relay=self.relay,
            rates=RateStore(database),
            clock=clock,
            lanes=settings.broadcast_lanes,
            lease=settings.broadcast_lease,
        )
        self.turns = Turns(
            store=TurnStore(database),
            profile=peers.profile,
            catalogues=self.catalogues,
            partitions=self.partitions,
            relay=self.relay,
            timers=self.timers,
            identities=self.identities,
            clock=clock,
            lease=settings.send_lease,
            trace_ratio=trace_ratio,
            tell=self.broadcasts.ring,
        )
        self.lanes = [
            Lane(
                number,
                lanes=settings.lanes,
                log_=event_log,
                turns=self.turns,
                partitions=self.partitions,
                relay=self.relay,
                read_records=settings.read_records,
                turn_events=settings.turn_events,
                wait=settings.read_wait,
            )
            for number in range(settings.lanes)
        ]
        quarantine = QuarantineStore(database)
        self.replays = Replays(
            store=quarantine, log_=event_log, turns=self.turns, partitions=self.partitions
        )
        self.watches = WatchSweep(peers.profile, CampaignStore(database), WatchStore(database))
        self.backfills = Backfills(
            store=BackfillStore(database),
            profile=peers.profile,
            admissions=self.admissions,
            clock=clock,
        )
        self.housekeeping = Housekeeping(
            database=database,
            enrollments=enrollments,
            positions=self._positions,
            quarantine=quarantine,
            requests=RequestStore(database),
            watches=self.watches,
            partitions=self.partitions,
            log_=event_log,
            clock=clock,
            retention=settings.retention,
            log_retention=settings.log_retention,
            every=settings.sweep_every,
        )

    async def prepare(self) -> None:
        """Make ready what the parts rely on."""
        await self._positions.prepare(self._count)

    async def run(self, stopping: Stopping) -> None:
        """Work until told to stop."""
        await self.prepare()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.partitions.run(stopping))
            group.create_task(self.catalogues.listen(stopping))
            group.create_task(self.timers.run(stopping))
            group.create_task(self.relay.run(stopping))
            group.create_task(self.broadcasts.run(stopping))
            group.create_task(self.replays.run(stopping))
            group.create_task(self.notices.run(stopping))
            group.create_task(self.housekeeping.run(stopping))
            group.create_task(self.backfills.run(stopping))
            for lane in self.lanes:
                group.create_task(lane.run(stopping))
