"""Makes sure that delivery forgets people wholly, sends them nothing more, and harms no other."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import grpc
import grpc.aio
import pytest
from beckon.delivery.v1 import delivery_service_pb2 as delivery_pb
from beckon.delivery.v1 import erasure_service_pb2 as pb
from beckon.delivery.v1 import erasure_service_pb2_grpc as rpc

from mesh import client, postgres
from mesh.errors import Unavailable
from mesh.pages import PageTokens
from mesh.postgres import Database
from services.delivery.model import Channel, Claimed, Ending, NewDelivery, Peer, RetryPolicy, State
from services.delivery.servicer import DeliveryServicer, ErasureServicer
from services.delivery.store import DeliveryStore, ErasureStore, Outbox
from services.delivery.worker import Lane, LaneLimits, Relay, Settler
from tests.integration.delivery.peers import Hooks, Peers
from tests.integration.delivery.service import KEY, a_delivery, a_template, key_of, service
from tests.integration.delivery.test_crash_points import (
    LEASE,
    FakeClock,
    Mailbag,
    Told,
    a_new,
    claimed,
    settled,
)
from tests.waiting import eventually

SECOND = timedelta(seconds=1)


def receipt_of(*people: str) -> str:
    """Return the name of the receipt for an erasure of these people."""
    return f"workspaces/w/erasures/{uuid5(NAMESPACE_URL, '/'.join(people))}"


class Hearer:
    """A peer that remembers whom it heard of."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def tell(self, endings: "list[Ending] | Any") -> None:
        self.heard += [one.profile for one in endings]


class World:
    """Delivery's tables, a lane for mail and a relay, without a socket."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.clock = FakeClock()
        self.store = DeliveryStore(db)
        self.bag = Mailbag()
        self.hearers = {Peer.THROTTLE: Hearer(), Peer.INGEST: Hearer()}
        self.relay = Relay(Outbox(db), self.hearers, self.clock, poll=SECOND)
        self.settler = Settler(self.store, self.clock, tell=self.relay.take)
        self.lane = Lane(
            Channel.EMAIL,
            store=self.store,
            preparer=Told(),
            provider=self.bag,
            settler=self.settler,
            clock=self.clock,
            policy=RetryPolicy(),
            limits=LaneLimits(in_flight_max=2, lease=LEASE),
            draw=lambda: 0.5,
        )
        self.servicer = ErasureServicer(
            ErasureStore(db), self.store, {Channel.EMAIL: self.lane}, self.relay, self.clock
        )

    async def create(
        self, *people: str, channel: Channel = Channel.EMAIL, workspace: str = "w"
    ) -> list[NewDelivery]:
        new = [a_new(channel)._replace(profile=one, workspace=workspace) for one in people]
        await self.store.create(
            sorted(new, key=lambda one: one.delivery_id),
            now=self.clock.now(),
            leased=[False] * len(new),
            lease_ends=[self.clock.now()] * len(new),
            handed_over=[False] * len(new),
        )
        return new

    async def erase(self, *people: str) -> dict[str, int]:
        names = [f"workspaces/w/profiles/{one}" for one in people]
        request = pb.ErasePeopleRequest(profiles=names, erasure=receipt_of(*people))
        response = await self.servicer.ErasePeople(request, None)
        return dict(response.counts)

    async def erase_at_last(self, person: str) -> None:
        """As who asks for it does: again, until it is answered."""

        async def done() -> bool:
            try:
                await self.erase(person)
            except Unavailable:
                self.clock.advance(LEASE)
                return False
            return True

        await eventually(done)

    async def left(self) -> list[tuple[str, str]]:
        async with self.db.connection() as connection:
            rows = await connection.fetch("SELECT profile, state FROM deliveries ORDER BY 1, 2")
        return [(row[0], State(row[1]).name) for row in rows]

    async def traces_of(self, person: str) -> int:
        """Return in how many rows of any table a text of the person's stands."""
        found = 0
        async with self.db.connection() as connection:
            tables = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'delivery'"
            )
            for (table,) in tables:
                found += await connection.fetchval(
                    f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%' || $1 || '%'", person
                )
        return found


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with postgres.connect(database_url, schema="delivery", size=5) as db:
        yield World(db)


async def ended(world: World, *people: str, state: State = State.SENT) -> None:
    """Create deliveries and let them end in this state."""
    await world.create(*people)
    await settled(world.store, world.clock, await claimed(world.store, world.clock, Channel.EMAIL),
                  state)  # fmt: skip


async def test_deliveries_in_every_state_go_and_others_stay(world: World) -> None:
    for state in (State.SENT, State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELED):
        await ended(world, "ana", "ben", state=state)
    await world.create("ana", "ben", "ana2")
    await world.create("ana", workspace="v")

    counts = await world.erase("ana", "ana2", "nobody")

    assert counts == {"deliveries": 7, "receipts": 5}
    assert {one for one, _ in await world.left()} == {"ana", "ben"}
    assert len(await world.left()) == 7
    assert await world.erase("ana") == {"deliveries": 0, "receipts": 0}


async def test_a_repeat_after_a_lost_answer_counts_what_was_removed_before(world: World) -> None:
    await ended(world, "ana")
    await world.erase("ana")
    await world.create("ana")

    assert await world.erase("ana") == {"deliveries": 2, "receipts": 1}
    assert await world.erase("ana") == {"deliveries": 2, "receipts": 1}


async def test_nothing_that_names_the_person_is_left(world: World) -> None:
    await ended(world, "ana-of-the-test", "ben")
    await world.create("ana-of-the-test")

    await world.erase("ana-of-the-test")

    assert await world.traces_of("ana-of-the-test") == 0
    assert await world.traces_of("ben") == 3


async def test_what_others_were_yet_to_hear_is_dropped_and_the_rest_told(world: World) -> None:
    await ended(world, "ana", "ben", "ana", "eve")
    await ended(world, "ana")
    world.clock.advance(timedelta(minutes=1))

    await world.erase("ana")
    await world.relay.run_once()

    assert sorted(world.hearers[Peer.INGEST].heard) == ["ben", "eve"]
    assert sorted(world.hearers[Peer.THROTTLE].heard) == ["ben", "eve"]
    assert await Outbox(world.db).depth() == (0, None)


async def test_what_waits_in_memory_to_be_told_is_dropped_too(world: World) -> None:
    await world.create("ana", "ben")
    deliveries = await claimed(world.store, world.clock, Channel.EMAIL)
    world.relay.take((await settled(world.store, world.clock, deliveries))[1])

    await world.erase("ana")
    await world.relay.run_once()

    assert world.hearers[Peer.INGEST].heard == ["ben"]


async def test_what_a_provider_may_be_getting_ends_first_and_all_is_counted_at_last(
    world: World,
) -> None:
    await world.create("ana")
    busy = await claimed(world.store, world.clock, Channel.EMAIL)
    await world.store.hand_over(busy, lease_beyond=world.clock.now())
    await world.create("ana")

    with pytest.raises(Unavailable):
        await world.erase("ana")

    assert await world.left() == [("ana", "SENDING"), ("ana", "CANCELED")]
    await settled(world.store, world.clock, busy)
    assert await world.erase("ana") == {"deliveries": 2, "receipts": 1}


async def test_a_lease_that_ran_out_holds_nothing_up(world: World) -> None:
    await world.create("ana")
    lost = await claimed(world.store, world.clock, Channel.EMAIL)
    await world.store.hand_over(lost, lease_beyond=world.clock.now())
    world.clock.advance(LEASE)

    assert await world.erase("ana") == {"deliveries": 1, "receipts": 0}


async def test_what_waits_in_a_lane_is_not_sent(world: World) -> None:
    await world.create("ana", "ben")
    await world.lane.look()

    await world.erase("ana")
    await world.lane.turn()
    await world.lane.drain()
    await world.settler.flush()

    assert len(world.bag.sent) == 1
    assert world.lane.held == 0
    assert await world.left() == [("ben", "SENT")]


async def test_what_another_process_holds_is_not_sent_either_and_crashes_nothing(
    world: World,
) -> None:
    """The lane does not know: it finds the row gone when it hands over, or when it settles."""
    await world.create("ana", "ben", "eve")
    held: list[Claimed] = await claimed(world.store, world.clock, Channel.EMAIL)
    world.lane.accept(held, reserved=0)
    elsewhere = ErasureStore(world.db)

    await elsewhere.erase(receipt_of("ana"), {("w", "ana")}, now=world.clock.now())
    await world.lane.turn()
    await world.lane.drain()
    await elsewhere.erase(receipt_of("eve"), {("w", "eve")}, now=world.clock.now() + LEASE)
    await world.settler.flush()

    gone = {str(one.delivery_id) for one in held if one.profile == "ana"}
    assert len(world.bag.sent) == 2
    assert not gone & set(world.bag.sent)
    assert world.lane.held == 0
    assert await world.left() == [("ben", "SENT")]


async def test_an_erasure_waits_for_nobody_who_waits_for_it(world: World) -> None:
    """Who settles many at once takes them in an order of its own."""
    first, last = sorted(one.delivery_id for one in await world.create("ana", "ana"))
    touch = "UPDATE deliveries SET error = 'x' WHERE delivery_id = $1"
    refused = asyncio.Event()

    async def erase() -> None:
        with pytest.raises(Unavailable):
            await world.erase("ana")
        refused.set()

    async def refused_or_waiting() -> bool:
        async with world.db.connection() as connection:
            waits = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            )
        return refused.is_set() or bool(waits)

    async with asyncio.TaskGroup() as group, world.db.transaction() as settling:
        await settling.execute(touch, last)
        group.create_task(erase())
        await eventually(refused_or_waiting)
        await settling.execute(touch, first)

    assert (await world.erase("ana"))["deliveries"] == 2


async def test_erasures_beside_work_end_without_a_trace(world: World) -> None:
    people = [f"p{at}" for at in range(20)]
    for _ in range(3):
        await world.create(*people)

    async def work() -> None:
        await world.lane.look()
        await world.lane.turn()
        await world.lane.drain()
        await world.settler.flush()

    await asyncio.gather(work(), *(world.erase_at_last(one) for one in people[:10]))
    await work()

    assert {one for one, _ in await world.left()} == set(people[10:])
    assert world.lane.held == 0


async def test_what_was_on_its_way_here_meanwhile_is_dropped_for_a_day(world: World) -> None:
    await world.erase("ana")
    late = await world.create("ana", "ben")
    erasures = ErasureStore(world.db)

    dropped = await erasures.drop_late(late)
    await erasures.forget(world.clock.now())
    repeated = await erasures.drop_late(late)
    await erasures.forget(world.clock.now() + SECOND)
    afterwards = await erasures.drop_late(late)

    ana = {one.delivery_id for one in late if one.profile == "ana"}
    assert (dropped, repeated, afterwards) == (ana, ana, set())
    assert await world.left() == [("ben", "PENDING")]


async def test_creates_beside_an_erasure_leave_nothing(world: World) -> None:
    tokens = PageTokens(b"secret")
    servicer = DeliveryServicer(
        world.store,
        ErasureStore(world.db),
        {Channel.EMAIL: world.lane, Channel.WEBHOOK: world.lane},
        world.clock,
        tokens=tokens,
    )
    for attempt in range(10):
        person = f"p{attempt}-x"

        async def create(person: str = person) -> None:
            for _ in range(5):
                requests = [a_delivery(profile=person), a_delivery(profile="ben")]
                await servicer.BatchCreateDeliveries(
                    delivery_pb.BatchCreateDeliveriesRequest(requests=requests), None
                )

        await asyncio.gather(*(create() for _ in range(3)), world.erase_at_last(person))

        assert await world.traces_of(person) == 0


async def test_over_the_wire_waiting_webhooks_of_the_erased_stay_unsent(
    tmp_path: Path, database_url: str, peers: Peers, hooks: Hooks
) -> None:
    settings = {"DELIVERY_WEBHOOK_CONNECTIONS": "1"}
    gate = asyncio.Event()
    hooks.behave = lambda *_: gate.wait()
    async with (
        service(
            tmp_path, database_url, peers.address, hooks=hooks.address, settings=settings
        ) as delivery,
        client.connect(delivery.address, key=KEY, service="delivery") as channel,
    ):
        stub: rpc.ErasureServiceAsyncStub = rpc.ErasureServiceStub(channel)
        await delivery.save(a_template(hook=hooks.address))
        first, others = a_delivery(profile="ben"), [a_delivery(profile="ana") for _ in range(5)]
        await delivery.create(first)
        await eventually(lambda: hooks.open == 1)
        await delivery.create(*others, last := a_delivery(profile="ben"))

        request = pb.ErasePeopleRequest(
            profiles=["workspaces/w/profiles/ana"], erasure=receipt_of("ana")
        )
        answer = await stub.ErasePeople(request)
        gate.set()
        await delivery.reaches(key_of(last), delivery_pb.Delivery.STATE_SENT)

        assert dict(answer.counts) == {"deliveries": 5, "receipts": 0}
        assert set(hooks.contents()) == {str(key_of(first)), str(key_of(last))}
        assert await delivery.create(a_delivery(profile="ana")) == 0
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await delivery.get(UUID(bytes=others[0].delivery_id))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
