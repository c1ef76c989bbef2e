"""Makes sure that dying right after any write costs at most a repeat that is dropped.

Each test stops the work at one point, as a kill there would, and lets the lease run out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from mesh import postgres
from mesh.errors import unavailable
from mesh.postgres import Database
from services.delivery.model import (
    Answer,
    Channel,
    Claimed,
    NewDelivery,
    News,
    Outcome,
    Peer,
    RetryPolicy,
    Settled,
    State,
)
from services.delivery.providers import Email
from services.delivery.store import DeliveryStore, ListFilter, Outbox
from services.delivery.worker import Lane, LaneLimits, Prepared, Settler
from services.delivery.worker.prepare import Preparation

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=2)


class FakeClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def advance(self, span: timedelta) -> None:
        self.time += span


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with postgres.connect(database_url, schema="delivery", size=5) as found:
        yield found


@pytest.fixture
def store(db: Database) -> DeliveryStore:
    return DeliveryStore(db)


def a_new(channel: Channel, key: UUID | None = None) -> NewDelivery:
    return NewDelivery(
        key or uuid4(), "w", "ana", "cart", "cart", int(channel), NOW + timedelta(days=1),
        None, None, False, b"{}",
    )  # fmt: skip


async def created(
    store: DeliveryStore, clock: FakeClock, channel: Channel, count: int = 1, *, leased: bool = True
) -> list[NewDelivery]:
    """Create deliveries, in this worker's hands or not."""
    new = sorted((a_new(channel) for _ in range(count)), key=lambda one: one.delivery_id)
    await store.create(
        new,
        now=clock.now(),
        leased=[leased] * count,
        lease_ends=[clock.now() + LEASE] * count,
        handed_over=[channel is Channel.WEBHOOK] * count,
    )
    return new


async def claimed(
    store: DeliveryStore, clock: FakeClock, channel: Channel, limit: int = 100
) -> list[Claimed]:
    return await store.claim(
        channel,
        now=clock.now(),
        lease_end=clock.now() + LEASE,
        limit=limit,
        repeat_safe=channel is Channel.WEBHOOK,
    )


async def settled(
    store: DeliveryStore, clock: FakeClock, deliveries: Sequence[Claimed], state: State = State.SENT
) -> tuple[int, list[News]]:
    return await store.settle(
        [Settled(one, state, None, tried=True) for one in deliveries],
        now=clock.now(),
        relay_until=clock.now() + timedelta(seconds=30),
    )


async def states(store: DeliveryStore) -> list[str]:
    return sorted(one.state.name for one in await store.list(ListFilter(workspace="w"), 1000))


@pytest.mark.parametrize("channel", list(Channel))
async def test_dead_after_the_create_it_is_taken_by_the_next(
    store: DeliveryStore, clock: FakeClock, channel: Channel
) -> None:
    [new] = await created(store, clock, channel)
    assert await claimed(store, clock, channel) == []
    clock.advance(LEASE)

    [again] = await claimed(store, clock, channel)

    assert (again.delivery_id, again.fence, again.data) == (new.delivery_id, 2, b"{}")


async def test_dead_after_the_hand_over_a_mail_is_unknown_and_everybody_hears_of_it(
    db: Database, store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.EMAIL, leased=False)
    deliveries = await claimed(store, clock, Channel.EMAIL)
    await store.hand_over(deliveries, lease_beyond=clock.now())
    clock.advance(LEASE)

    assert await claimed(store, clock, Channel.EMAIL) == []
    assert await store.lapse(Channel.EMAIL, now=clock.now(), limit=10) == 1

    assert await states(store) == ["UNKNOWN"]
    news = await Outbox(db).claim(clock.now(), clock.now() + LEASE, 10)
    assert {one.peer for one in news} == {Peer.THROTTLE, Peer.INGEST}
    assert {ending.state for one in news for ending in one.endings} == {State.UNKNOWN}


async def test_dead_while_a_webhook_was_out_it_goes_out_again(
    store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.WEBHOOK, leased=False)
    first = await claimed(store, clock, Channel.WEBHOOK)
    clock.advance(LEASE)

    again = await claimed(store, clock, Channel.WEBHOOK)

    assert [one.delivery_id for one in again] == [one.delivery_id for one in first]


async def test_who_lost_the_lease_cannot_overwrite_the_successor(
    store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.WEBHOOK, leased=False)
    first = await claimed(store, clock, Channel.WEBHOOK)
    clock.advance(LEASE)
    second = await claimed(store, clock, Channel.WEBHOOK)

    late = await settled(store, clock, first, State.FAILED)
    timely = await settled(store, clock, second)
    repeated = await settled(store, clock, second)

    assert (late[0], timely[0], repeated[0]) == (0, 1, 0)
    assert (len(late[1]), len(timely[1]), len(repeated[1])) == (0, 2, 0)
    assert await states(store) == ["SENT"]


async def test_dead_after_the_settlement_the_news_are_told_by_another(
    db: Database, store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.WEBHOOK, 3, leased=False)
    await settled(store, clock, await claimed(store, clock, Channel.WEBHOOK))
    outbox = Outbox(db)
    assert await outbox.claim(clock.now(), clock.now() + LEASE, 10) == []
    clock.advance(timedelta(seconds=30))

    news = await outbox.claim(clock.now(), clock.now() + LEASE, 10)

    assert sorted(len(one.endings) for one in news) == [3, 3]
    # When it happened, not when it is told: a repeat tells the same.
    assert {ending.time for one in news for ending in one.endings} == {NOW}
    await outbox.done([one.outbox_id for one in news])
    assert await outbox.depth() == (0, None)


async def test_cancelled_between_claim_and_hand_over_it_is_not_sent(
    store: DeliveryStore, clock: FakeClock
) -> None:
    new = await created(store, clock, Channel.EMAIL, 2, leased=False)
    deliveries = await claimed(store, clock, Channel.EMAIL)

    canceled = await store.cancel([(new[0].delivery_id, "w", "ana")], now=clock.now())
    ours = await store.hand_over(deliveries, lease_beyond=clock.now())
    late = await store.cancel([(new[1].delivery_id, "w", "ana")], now=clock.now())

    assert canceled == {new[0].delivery_id}
    assert ours == {new[1].delivery_id}
    assert late == set()
    assert (await settled(store, clock, deliveries))[0] == 1
    assert await states(store) == ["CANCELED", "SENT"]


async def test_a_lease_that_ends_too_soon_is_no_leave_to_send(
    store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.EMAIL, leased=False)
    deliveries = await claimed(store, clock, Channel.EMAIL)

    ours = await store.hand_over(deliveries, lease_beyond=clock.now() + LEASE)

    assert ours == set()


async def test_claims_at_the_same_time_take_different_deliveries(
    store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.WEBHOOK, 100, leased=False)

    shares = await asyncio.gather(*(claimed(store, clock, Channel.WEBHOOK, 30) for _ in range(5)))

    keys = [one.delivery_id for share in shares for one in share]
    assert len(keys) == len(set(keys)) == 100


async def test_a_create_and_its_cancellation_at_the_same_time_agree(
    store: DeliveryStore, clock: FakeClock
) -> None:
    for _ in range(20):
        new = a_new(Channel.EMAIL)
        (made, met), canceled = await asyncio.gather(
            store.create([new], now=NOW, leased=[False], lease_ends=[NOW], handed_over=[False]),
            store.cancel([(new.delivery_id, "w", "ana")], now=NOW),
        )

        # Whoever was first: it is cancelled, and the create knows when it came second.
        assert canceled == {new.delivery_id}
        assert made | met == {new.delivery_id}
    assert await claimed(store, clock, Channel.EMAIL) == []


class Told:
    """Prepares mails without asking anybody."""

    async def prepare(self, deliveries: Sequence[Claimed]) -> Preparation[Email]:
        ready = [
            Prepared(one, Email(str(one.delivery_id), "", "", "", "", ""), "relay")
            for one in deliveries
        ]
        return Preparation(ready, [], NOW, NOW)


class Mailbag:
    """A provider that can be told to crash."""

    repeat_safe = False

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.crash_on = ""

    async def send(self, message: Email) -> Answer:
        if message.delivery_id == self.crash_on:
            raise ZeroDivisionError
        self.sent.append(message.delivery_id)
        return Answer(Outcome.ACCEPTED)


class Faulty(DeliveryStore):
    """The real store; each planned fault befalls one call of its name, before or after the work."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.plan: list[tuple[str, str]] = []

    def _struck(self, name: str, when: str) -> None:
        if (name, when) in self.plan:
            self.plan.remove((name, when))
            raise unavailable("postgres")

    async def settle(
        self, settled: Sequence[Settled], *, now: datetime, relay_until: datetime
    ) -> tuple[int, list[News]]:
        self._struck("settle", "before")
        found = await super().settle(settled, now=now, relay_until=relay_until)
        self._struck("settle", "after")
        return found

    async def hand_over(
        self, deliveries: Sequence[Claimed], *, lease_beyond: datetime
    ) -> set[UUID]:
        self._struck("hand_over", "before")
        found = await super().hand_over(deliveries, lease_beyond=lease_beyond)
        self._struck("hand_over", "after")
        return found


async def worked_off(
    store: DeliveryStore, clock: FakeClock, bag: Mailbag
) -> tuple[Lane[Email], Settler]:
    """Let a lane do everything that is due."""
    settler = Settler(store, clock, tell=lambda _news: None)
    lane = Lane(
        Channel.EMAIL,
        store=store,
        preparer=Told(),
        provider=bag,
        settler=settler,
        clock=clock,
        policy=RetryPolicy(),
        limits=LaneLimits(in_flight_max=2, lease=LEASE),
        draw=lambda: 0.5,
    )
    await lane.look()
    await lane.turn()
    await lane.drain()
    await settler.flush()
    return lane, settler


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_hand_over_whose_record_is_in_doubt_sends_nothing_and_waits(
    db: Database, clock: FakeClock, when: str
) -> None:
    store, bag = Faulty(db), Mailbag()
    await created(store, clock, Channel.EMAIL, 1, leased=False)
    store.plan = [("hand_over", when)]

    lane, _ = await worked_off(store, clock, bag)

    assert bag.sent == []
    assert await states(store) == ["PENDING"]
    assert lane.held == 0
    clock.advance(timedelta(minutes=1))
    await worked_off(store, clock, bag)
    assert len(bag.sent) == 1
    assert await states(store) == ["SENT"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_settlement_whose_answer_is_lost_is_written_again_to_no_effect(
    db: Database, clock: FakeClock, when: str
) -> None:
    store, bag = Faulty(db), Mailbag()
    await created(store, clock, Channel.EMAIL, 3, leased=False)
    store.plan = [("settle", when)]

    lane, settler = await worked_off(store, clock, bag)
    await settler.flush()

    assert len(bag.sent) == 3
    assert await states(store) == ["SENT"] * 3
    assert lane.held == 0
    clock.advance(timedelta(minutes=1))
    news = await Outbox(db).claim(clock.now(), clock.now() + LEASE, 10)
    assert sorted(len(one.endings) for one in news) == [3, 3]


async def test_a_crash_in_the_providers_code_spoils_no_neighbour(
    db: Database, clock: FakeClock
) -> None:
    store, bag = DeliveryStore(db), Mailbag()
    new = await created(store, clock, Channel.EMAIL, 10, leased=False)
    bag.crash_on = str(new[4].delivery_id)

    await worked_off(store, clock, bag)

    assert await states(store) == ["SENT"] * 9 + ["UNKNOWN"]


async def test_old_deliveries_are_forgotten_and_unfinished_ones_never(
    store: DeliveryStore, clock: FakeClock
) -> None:
    await created(store, clock, Channel.WEBHOOK, 2, leased=False)
    await settled(store, clock, await claimed(store, clock, Channel.WEBHOOK, 1))

    forgotten = await store.forget(clock.now() + timedelta(days=31), 100)

    assert forgotten == 1
    assert await states(store) == ["PENDING"]
