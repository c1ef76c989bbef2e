"""Segments without their socket: the servicer, and the workers turned by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from beckon.profile.v1 import segment_service_pb2 as pb

from mesh.pages import PageTokens
from mesh.wake import Wake
from services.profile.model.changes import DerivedEvent
from services.profile.servicer.segments import SegmentServicer
from services.profile.store.definitions import Definitions
from services.profile.store.derived_events import DerivedEvents
from services.profile.store.segments import (
    Building,
    Counting,
    Dues,
    Members,
    SegmentDefinitions,
    load_segments,
)
from services.profile.store.traits import load_traits
from services.profile.worker.segments import SegmentBuilder, SegmentDues
from tests.integration.profile.world import Profiles, a_record, an_event

WORKSPACE = "workspaces/acme"


@dataclass
class Segments:
    """The segments of a service that is otherwise `profiles`."""

    profiles: Profiles
    piece: int = 5000
    workspace: str = "acme"
    positions: "count[int]" = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        database, clock = self.profiles.database, self.profiles.clock
        self.servicer = SegmentServicer(
            SegmentDefinitions(database),
            Members(database),
            Counting(database),
            clock,
            PageTokens(b"secret"),
            changed=lambda: None,
        )
        self.building = Building(database, piece=self.piece)
        self.builder = SegmentBuilder(self.building, clock, Wake())
        self.dues = self.another_dues()
        self.owed = DerivedEvents(database)

    @property
    def parent(self) -> str:
        return f"workspaces/{self.workspace}"

    def another_dues(self, *, batch: int = 500) -> SegmentDues:
        """What another replica has."""
        definitions = Definitions(load_traits, load_segments)
        dues = Dues(self.profiles.database, definitions, batch=batch)
        return SegmentDues(dues, self.profiles.clock)

    async def create(self, segment: str, filter_: str) -> pb.Segment:
        wanted = pb.Segment(name=f"{self.parent}/segments/{segment}", filter=filter_)
        return await self.servicer.CreateSegment(pb.CreateSegmentRequest(segment=wanted), None)

    async def build(self) -> None:
        while await self.builder.run_once():
            pass

    async def made(self, segment: str, filter_: str) -> None:
        """Create and build."""
        await self.create(segment, filter_)
        await self.build()

    async def get(self, segment: str) -> pb.Segment:
        return await self.servicer.GetSegment(
            pb.GetSegmentRequest(name=f"{self.parent}/segments/{segment}"), None
        )

    async def members(self, segment: str) -> list[str]:
        request = pb.StreamSegmentMembersRequest(name=f"{self.parent}/segments/{segment}")
        found = [one async for one in self.servicer.StreamSegmentMembers(request, None)]
        return [each.profile.rpartition("/")[2] for one in found for each in one.members]

    async def membership(self, segment: str, profile: str = "ana") -> pb.SegmentMembership:
        return await self.servicer.GetSegmentMembership(
            pb.GetSegmentMembershipRequest(
                name=f"{self.parent}/segments/{segment}",
                profile=f"{self.parent}/profiles/{profile}",
            ),
            None,
        )

    async def happen(
        self,
        kind: str,
        profile: str = "ana",
        properties: Mapping[str, object] | None = None,
        *,
        ago: timedelta = timedelta(),
    ) -> None:
        """Let somebody do something now, or a while ago."""
        at, now = next(self.positions), self.profiles.clock.now()
        event = an_event(
            f"e{at}",
            kind=kind,
            profile=profile,
            workspace=self.workspace,
            properties=properties,
            occurred=now - ago,
        )
        record = a_record(f"{at:09}", event, received=now, workspace=self.workspace)
        answer = await self.profiles.observe(record)
        assert not answer.failed_events

    async def update(self, profile: str = "ana", **attributes: object) -> None:
        await self.happen("profile_updated", profile, attributes)

    async def due(self) -> None:
        """Look at all who are due now."""
        while await self.dues.run_once():
            pass

    async def after(self, span: timedelta) -> None:
        """Let time go by, and look at who is due."""
        self.profiles.clock.advance(span)
        await self.due()

    async def said(self) -> list[tuple[str, str, str]]:
        """Return the events owed so far: type, profile and segment."""
        return [_said(event) for _, event in await self.owed.oldest(10_000)]


def _said(event: DerivedEvent) -> tuple[str, str, str]:
    return event.type, event.profile_id, json.loads(event.properties)["segment"]
