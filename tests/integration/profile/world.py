"""The service without its socket, on a real database, and events to feed it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
from beckon.ingest.v1.event_pb2 import Event, LogRecord
from beckon.profile.v1 import observation_service_pb2 as pb

from mesh.pages import PageTokens
from mesh.postgres import Database
from services.profile.servicer import ObservationServicer, ProfileServicer
from services.profile.servicer.attributes import AttributeServicer
from services.profile.servicer.devices import DeviceServicer
from services.profile.servicer.explaining import Explainer
from services.profile.servicer.exporting import Exporter
from services.profile.servicer.identity import IdentityServicer
from services.profile.servicer.relations import RelationServicer
from services.profile.servicer.traits import TraitServicer
from services.profile.store import Observations
from services.profile.store import Profiles as ProfileStore
from services.profile.store.attributes import Attributes, AttributeTypes
from services.profile.store.definitions import Definitions
from services.profile.store.devices import Devices
from services.profile.store.explanations import Explanations
from services.profile.store.merges import Merges
from services.profile.store.related import RelatedPeople
from services.profile.store.relations import Relations
from services.profile.store.segments import load_segments
from services.profile.store.traits import TraitDefinitions, TraitDues, TraitWalks, load_traits
from services.profile.worker.traits import TraitKeeper

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEKS = "SELECT relname FROM pg_class WHERE relname LIKE 'history\\_%' AND relkind = 'r' ORDER BY 1"


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


class FakeClock:
    """Tells the time it was told."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, span: timedelta) -> None:
        self._now += span


def an_event(
    event_id: str = "e1",
    *,
    kind: str = "order_placed",
    profile: str = "ana",
    workspace: str = "acme",
    occurred: datetime | None = None,
    properties: Mapping[str, object] | bytes | None = None,
) -> Event:
    event = Event(
        event_id=event_id, type=kind, profile=f"workspaces/{workspace}/profiles/{profile}"
    )
    if occurred is not None:
        event.occur_time.FromDatetime(occurred)
    if isinstance(properties, bytes):
        event.properties_json = properties
    elif properties is not None:
        event.properties_json = json.dumps(properties).encode()
    return event


def a_record(
    position: str,
    *events: Event,
    partition: int = 0,
    received: datetime = NOW,
    workspace: str = "acme",
    offset: timedelta = timedelta(),
) -> pb.ObservedRecord:
    return pb.ObservedRecord(
        partition=partition,
        position=position,
        record=LogRecord(
            workspace=workspace,
            receive_time_us=micros(received),
            clock_offset_us=offset // MICROSECOND,
            events=events,
        ),
    )


@dataclass
class Profiles:
    """The service without its socket, on a real database."""

    url: str
    database: Database
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    window: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        self.definitions = Definitions(load_traits, load_segments)
        self.types = AttributeTypes()
        self.store = Observations(self.database, self.clock, self.definitions, self.types)
        self.servicer = ObservationServicer(
            self.store, self.clock, window=self.window, weeks_kept=57
        )
        tokens = PageTokens(b"secret")
        people = ProfileStore(self.database, self.definitions, self.types)
        self.devices = DeviceServicer(Devices(self.database, self.definitions), self.clock, tokens)
        self.relations = RelationServicer(
            Relations(self.database, self.definitions),
            RelatedPeople(self.database),
            self.clock,
            tokens,
        )
        self.profiles = ProfileServicer(
            people,
            self.clock,
            tokens,
            Exporter(self.devices, self.relations),
            Explainer(Explanations(self.database)),
        )
        self.merges = Merges(self.database, self.definitions)
        self.identity = IdentityServicer(self.merges, self.clock, tokens)
        self.attributes = AttributeServicer(
            Attributes(self.database, self.types), self.clock, tokens
        )
        self.traits = TraitServicer(TraitDefinitions(self.database), self.clock, tokens)
        self.trait_keeper = TraitKeeper(
            TraitDues(self.database, self.definitions, self.clock),
            TraitWalks(self.database, self.definitions, self.clock),
            limit=3,
        )

    async def observe(
        self, *records: pb.ObservedRecord, wanted: Sequence[str] = ()
    ) -> pb.ObserveEventsResponse:
        request = pb.ObserveEventsRequest(records=records, standing_types=wanted)
        return await self.servicer.ObserveEvents(request, None)

    async def standing(self, profile: str = "ana", workspace: str = "acme") -> pb.Standing:
        name = f"workspaces/{workspace}/profiles/{profile}"
        request = pb.BatchGetStandingsRequest(profiles=[name])
        return (await self.servicer.BatchGetStandings(request, None)).standings[0]

    async def addresses(self, *people: str) -> list[tuple[str, str]]:
        request = pb.BatchGetAddressesRequest(
            profiles=[f"workspaces/acme/profiles/{one}" for one in people]
        )
        answer = await self.servicer.BatchGetAddresses(request, None)
        return [(one.email, one.phone) for one in answer.addresses]

    async def count(self, kind: str = "order_placed", profile: str = "ana") -> int:
        standing = await self.standing(profile)
        return sum(one.count for one in standing.counters if one.type == kind)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return await connection.fetch(query, *args)

    async def history(self) -> list[str]:
        rows = await self.fetch("SELECT event_id FROM history ORDER BY receive_us, event_id")
        return [row["event_id"] for row in rows]
