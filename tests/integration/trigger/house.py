"""Trigger with all it stands on, and builders of what it is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
from beckon.delivery.v1.delivery_service_pb2 import CreateDeliveryRequest
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.trigger.v1 import campaign_service_pb2 as campaign_pb
from beckon.trigger.v1 import decision_service_pb2 as decision_pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign
from beckon.type.v1.channel_pb2 import Channel

from mesh.eventlog import EventLog
from mesh.ids import shard_of
from mesh.postgres import Database
from mesh.server import Stopping
from services.trigger.clients import Peers
from services.trigger.config import WorkerSettings
from services.trigger.convert.times import to_timestamp
from services.trigger.servicer import (
    CampaignServicer,
    DecisionServicer,
    QuarantineServicer,
    RegionServicer,
)
from services.trigger.store import Known, TurnStore
from services.trigger.worker import Worker
from tests.integration.trigger.peers import MemoryPeers

PARTITIONS = 4
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_numbers = count(1)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def advance(self, **span: float) -> None:
        self.time += timedelta(**span)


@dataclass
class House:
    """Trigger with all it stands on."""

    database: Database
    log: EventLog
    memory: MemoryPeers
    peers: Peers
    clock: FakeClock
    settings: WorkerSettings
    campaigns: CampaignServicer
    decisions: DecisionServicer
    regions: RegionServicer
    quarantine: QuarantineServicer
    worker: Worker
    stopping: Stopping = field(default_factory=Stopping)

    def another_worker(self, name: str, **settings: Any) -> Worker:
        return Worker(
            self.database,
            self.log,
            self.peers,
            self.clock,
            replace(self.settings, **settings),
            name=name,
        )

    async def append(
        self,
        *events: Event,
        workspace: str = "acme",
        receive_time: datetime | None = None,
        clock_offset: timedelta = timedelta(0),
    ) -> None:
        """Append events as ingest does: one record for each partition."""
        received = receive_time or self.clock.now()
        by_partition: dict[int, list[Event]] = {}
        for event in events:
            shard = shard_of(workspace, event.profile.rpartition("/")[2])
            by_partition.setdefault(shard % PARTITIONS, []).append(event)
        await self.log.append(
            [
                (
                    partition,
                    LogRecord(
                        workspace=workspace,
                        receive_time_us=to_timestamp(received).ToMicroseconds(),
                        clock_offset_us=clock_offset // timedelta(microseconds=1),
                        events=some,
                    ).SerializeToString(),
                )
                for partition, some in by_partition.items()
            ]
        )

    async def work(self, worker: Worker | None = None) -> None:
        """Judge all that is in the log, fire what is due, relay what is owed."""
        one = worker or self.worker
        await self.judge(one)
        while await one.timers.run_once():
            pass
        await one.relay.drain(self.stopping)
        while await one.notices.run_once():
            pass

    async def judge(self, worker: Worker | None = None) -> None:
        """Judge all that is in the log; what is released stays with the worker."""
        for lane in (worker or self.worker).lanes:
            while await lane.run_once(self.stopping):
                pass

    async def succeed(self, name: str = "two") -> Worker:
        """Let every lease run out and return a worker that takes over everything."""
        self.clock.advance(seconds=60)
        successor = self.another_worker(name)
        await successor.partitions.run_once()
        return successor

    async def launch(self, campaign: Campaign, name: str = "cart") -> Campaign:
        """Create and launch a campaign."""
        made = await self.campaigns.CreateCampaign(
            campaign_pb.CreateCampaignRequest(
                parent="workspaces/acme", campaign_id=name, campaign=campaign
            ),
            None,
        )
        return await self.campaigns.LaunchCampaign(
            campaign_pb.LaunchCampaignRequest(name=made.name), None
        )

    async def decided(self, profile: str = "ana", **filters: Any) -> list[decision_pb.Decision]:
        """Return the decisions about a profile, newest first."""
        response = await self.decisions.ListDecisions(
            decision_pb.ListDecisionsRequest(
                parent=f"workspaces/acme/profiles/{profile}", **filters
            ),
            None,
        )
        return list(response.decisions)

    async def decision(self, event_id: str, profile: str = "ana") -> decision_pb.Decision:
        """Return the one decision about an event."""
        [found] = await self.decided(profile, event_id=event_id)
        return found

    @property
    def out(self) -> list[CreateDeliveryRequest]:
        """What goes out."""
        return self.memory.delivery.going_out


class Interrupted(TurnStore):
    """Lets something happen between reading and committing, once."""

    def __init__(self, house: House, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(house.database)
        self.meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    async def know(self, *args: Any, **options: Any) -> Known:
        known = await super().know(*args, **options)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile()
        return known


def an_event(
    type_: str = "cart_filled",
    *,
    id: str = "",  # noqa: A002 — as in the message
    profile: str = "ana",
    at: datetime | None = None,
    traceparent: str = "",
    workspace: str = "acme",
    **properties: Any,
) -> Event:
    """Return an event; it occurs when it is received unless told."""
    event = Event(
        event_id=id or f"e-{next(_numbers)}",
        type=type_,
        profile=f"workspaces/{workspace}/profiles/{profile}",
        properties_json=msgspec.json.encode(properties),
        traceparent=traceparent,
    )
    if at is not None:
        event.occur_time.CopyFrom(to_timestamp(at))
    return event


def a_campaign(
    *,
    event_type: str = "cart_filled",
    filter: str = "",  # noqa: A002 — as in the message
    delay: float = 0,
    exceptions: dict[str, str] | None = None,
    reentry: float | None = None,
    **rest: Any,
) -> Campaign:
    """Return a campaign as it is created; at once and once by default."""
    campaign = Campaign(
        trigger=campaign_pb.Trigger(event_type=event_type, filter=filter),
        message=campaign_pb.Message(
            channel=Channel.CHANNEL_WEBHOOK, template="workspaces/acme/templates/cart"
        ),
        exceptions=[
            campaign_pb.ExceptionEvent(event_type=type_, filter=source)
            for type_, source in (exceptions or {}).items()
        ],
        **rest,
    )
    if delay:
        campaign.delay.FromTimedelta(timedelta(seconds=delay))
    if reentry is not None:
        campaign.reentry_interval.FromTimedelta(timedelta(seconds=reentry))
    return campaign
