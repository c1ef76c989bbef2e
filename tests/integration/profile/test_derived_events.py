"""Makes sure that what profile owes to the log arrives in order, whatever comes in between.

Ingest is away, refuses an event or loses its answer; replicas come and go.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from beckon.ingest.v1 import ingest_service_pb2 as pb
from beckon.ingest.v1 import ingest_service_pb2_grpc as rpc
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, Code
from google.rpc.status_pb2 import Status

from mesh.client import connect
from mesh.errors import PermissionDenied, Unavailable
from mesh.postgres import Database
from mesh.server import Stopping
from services.profile.clients import IngestClient
from services.profile.model.changes import DerivedEvent
from services.profile.store.derived_events import DerivedEvents, owe
from services.profile.store.leases import Lease
from services.profile.worker.derived import LEASE_SPAN, DerivedEventRelay
from stack.ports import free_port
from tests.integration.profile.world import NOW, Profiles, micros
from tests.waiting import eventually

SECOND = timedelta(seconds=1)


@dataclass
class Log(rpc.IngestServiceServicer):
    """An ingest that remembers, and does as planned before it answers."""

    taken: list[str] = field(default_factory=list)
    workspaces: list[str] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    code: "Code" = INVALID_ARGUMENT
    lost_answers: int = 0

    async def IngestEvents(
        self,
        request: pb.IngestEventsRequest,
        context: "grpc.aio.ServicerContext[pb.IngestEventsRequest, pb.IngestEventsResponse]",
    ) -> pb.IngestEventsResponse:
        self.workspaces.append(request.parent)
        self.taken += [one.event_id for one in request.events if one.event_id not in self.refused]
        if self.lost_answers:
            self.lost_answers -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "lost")
        return pb.IngestEventsResponse(
            failed_events={
                at: Status(code=self.code, message="bad")
                for at, one in enumerate(request.events)
                if one.event_id in self.refused
            }
        )


@dataclass
class House:
    database: Database
    port: int
    log: Log = field(default_factory=Log)

    @asynccontextmanager
    async def ingest(self) -> AsyncIterator[None]:
        server = grpc.aio.server()
        rpc.add_IngestServiceServicer_to_server(self.log, server)
        server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def relay(self, *, lease: timedelta = LEASE_SPAN) -> AsyncIterator[DerivedEventRelay]:
        async with connect(f"127.0.0.1:{self.port}", key="secret", service="ingest") as channel:
            yield DerivedEventRelay(
                DerivedEvents(self.database),
                IngestClient(channel),
                Lease(self.database, "derived_events", span=lease),
            )

    async def owe(self, *event_ids: str, workspace: str = "acme") -> None:
        async with self.database.transaction() as db:
            await owe(db, [an_owed(event_id, workspace) for event_id in event_ids])

    async def left(self) -> list[str]:
        return [event.event_id for _, event in await DerivedEvents(self.database).oldest(100)]


def an_owed(event_id: str, workspace: str = "acme") -> DerivedEvent:
    return DerivedEvent(
        workspace, "ana", event_id, "segment_entered", micros(NOW), '{"segment": "vip"}'
    )


@pytest.fixture
def house(profiles: Profiles) -> House:
    return House(profiles.database, free_port())


async def test_what_is_owed_arrives_in_its_order(house: House) -> None:
    await house.owe("e1", "e2")
    await house.owe("f1", workspace="bolt")
    await house.owe("e3")

    async with house.ingest(), house.relay() as relay:
        await relay.run_once()

    assert house.log.taken == ["e1", "e2", "f1", "e3"]
    assert house.log.workspaces == ["workspaces/acme", "workspaces/bolt", "workspaces/acme"]
    assert await house.left() == []


async def test_while_ingest_is_away_it_stays_owed(house: House) -> None:
    await house.owe("e1")

    async with house.relay() as relay:
        with pytest.raises(Unavailable):
            await relay.run_once()
        left = await house.left()
        async with house.ingest():
            await eventually(lambda: _relayed(relay))

    assert left == ["e1"]
    assert house.log.taken == ["e1"]
    assert await house.left() == []


async def _relayed(relay: DerivedEventRelay) -> bool:
    try:
        return await relay.run_once() == 1
    except Unavailable:
        return False


async def test_a_lost_answer_is_repeated_by_the_same_id(house: House) -> None:
    await house.owe("e1")
    house.log.lost_answers = 1

    async with house.ingest(), house.relay() as relay:
        with pytest.raises(Exception, match="ingest"):
            await relay.run_once()
        await relay.run_once()

    assert house.log.taken == ["e1", "e1"]
    assert await house.left() == []


async def test_a_refused_event_holds_up_nobody(house: House) -> None:
    await house.owe("e1", "bad", "e2")
    house.log.refused = frozenset({"bad"})

    async with house.ingest(), house.relay() as relay:
        await relay.run_once()

    assert house.log.taken == ["e1", "e2"]
    assert await house.left() == []


async def test_what_our_key_may_not_write_stays_owed(house: House) -> None:
    await house.owe("e1", "e2")
    house.log.refused, house.log.code = frozenset({"e1", "e2"}), PERMISSION_DENIED

    async with house.ingest(), house.relay() as relay:
        with pytest.raises(PermissionDenied, match="events:derive"):
            await relay.run_once()
        left = await house.left()
        house.log.refused = frozenset()
        await relay.run_once()

    assert left == ["e1", "e2"]
    assert house.log.taken == ["e1", "e2"]


async def test_events_of_people_with_many_ids_go_in_several_calls(house: House) -> None:
    # As of somebody of a hundred long ids who is erased.
    properties = json.dumps({"profile_ids": ["x" * 128] * 100})
    owed = [an_owed(f"e{at}")._replace(properties=properties) for at in range(400)]
    async with house.database.transaction() as db:
        await owe(db, owed)

    async with house.ingest(), house.relay() as relay:
        await relay.run_once()

    assert house.log.taken == [f"e{at}" for at in range(400)]
    assert len(house.log.workspaces) == 6


async def test_of_two_replicas_one_relays(house: House) -> None:
    async with house.ingest(), house.relay() as one, house.relay() as other:
        await house.owe("e1")
        await one.run_once()
        await house.owe("e2")
        idle = await other.run_once()
        await one.run_once()

    assert idle == 0
    assert house.log.taken == ["e1", "e2"]


async def test_when_one_falls_silent_the_other_relays(house: House) -> None:
    async with house.ingest(), house.relay(lease=timedelta()) as one, house.relay() as other:
        await one.run_once()
        await house.owe("e1")
        await other.run_once()

    assert house.log.taken == ["e1"]


async def test_two_that_relay_for_long_lose_nothing(house: House) -> None:
    stopping = Stopping()
    async with house.ingest(), house.relay() as one, house.relay() as other:
        work = asyncio.gather(one.run(stopping), other.run(stopping))
        for at in range(20):
            await house.owe(f"e{at}")
        await eventually(house.left, lambda left: not left)
        stopping.set()
        await work

    assert list(dict.fromkeys(house.log.taken)) == [f"e{at}" for at in range(20)]
