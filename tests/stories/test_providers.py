"""Tells what becomes of a message whose provider is slow, says no, or says nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio
from beckon.delivery.v1 import delivery_service_pb2 as pb
from beckon.delivery.v1 import delivery_service_pb2_grpc as rpc
from beckon.delivery.v1.delivery_service_pb2 import Delivery
from beckon.trigger.v1.campaign_service_pb2 import ExceptionEvent
from beckon.trigger.v1.decision_service_pb2 import Decision

from stack.sinks.faults import Fault, Kind
from tests.http import put
from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

Misbehave = Callable[..., Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="session")
async def misbehave(world: World) -> AsyncIterator[Misbehave]:
    """Let the webhook sink misbehave towards the story's workspace, until its end."""
    address = f"{world.state.webhook_sink}/_sink/faults"

    async def set_faults(*faults: Fault) -> None:
        await put(address, msgspec.json.encode(faults))

    yield set_faults
    await set_faults()


def a_fault(world: World, kind: Kind, *, times: int | None = None, status: int = 500) -> Fault:
    return Fault(kind=kind, target=f"/{world.workspace}", times=times, status=status)


async def delivered(
    world: World, profile: str, state: "Delivery.State.ValueType", *, attempts: int = 0
) -> Delivery:
    """Wait until the message to a person is in a state, after so many attempts at least."""
    decision = await world.decided(profile, Decision.STATE_SENT)

    async def look() -> Delivery:
        return await world.delivery(decision.delivery)

    return await eventually(
        look, lambda found: found.state == state and found.attempt_count >= attempts
    )


async def test_a_message_is_tried_again_when_its_receiver_had_a_bad_moment(
    world: World, misbehave: Misbehave
) -> None:
    await misbehave(a_fault(world, Kind.REFUSE, times=2, status=503))
    await world.campaign("order", "ordered")

    await world.happens(world.event("ordered", "ana"))

    delivery = await delivered(world, "ana", Delivery.STATE_SENT)
    assert delivery.attempt_count == 3
    assert len(await world.requests()) == 1


async def test_a_lost_reply_costs_a_repeat_under_the_same_key(
    world: World, misbehave: Misbehave
) -> None:
    await misbehave(a_fault(world, Kind.DROP, times=1))
    await world.campaign("order", "ordered")

    await world.happens(world.event("ordered", "ana"))

    delivery = await delivered(world, "ana", Delivery.STATE_SENT)
    requests = await world.requests()
    assert len(requests) == 2
    assert {one.idempotency_key for one in requests} == {delivery.name.rpartition("/")[2]}


async def test_a_lost_reply_to_a_mail_is_never_answered_by_a_second_mail(world: World) -> None:
    address = f"ana@{world.workspace}.example"
    fault = Fault(kind=Kind.DROP, target=address)
    await put(f"{world.state.mail_sink_control}/_sink/faults", msgspec.json.encode([fault]))
    template = await world.mail_template("Hi", "there")
    await world.campaign("order", "ordered", template=template, email=True)
    await world.subscribe("ana", email=True)

    await world.happens(
        world.event("profile_updated", "ana", email=address), world.event("ordered", "ana")
    )

    await delivered(world, "ana", Delivery.STATE_UNKNOWN)
    await put(f"{world.state.mail_sink_control}/_sink/faults", b"[]")
    assert len(await world.mails(address)) == 1


async def test_a_dead_letter_goes_out_once_it_is_redriven(
    world: World, misbehave: Misbehave
) -> None:
    await misbehave(a_fault(world, Kind.REFUSE, status=400))
    await world.campaign("order", "ordered")
    event = world.event("ordered", "ana")
    await world.happens(event)
    dead = await delivered(world, "ana", Delivery.STATE_FAILED)

    await misbehave()
    stub: rpc.DeliveryServiceAsyncStub = rpc.DeliveryServiceStub(world.mesh.channels["delivery"])
    await stub.RedriveDeliveries(
        pb.RedriveDeliveriesRequest(parent=world.parent, names=[dead.name])
    )

    assert "400" in dead.error
    assert await eventually(world.webhooks) == [event.event_id]


async def test_an_exception_stops_what_its_receiver_would_not_take_yet(
    world: World, misbehave: Misbehave
) -> None:
    later = Fault(kind=Kind.REFUSE, target=f"/{world.workspace}", status=503, retry_after=60)
    await misbehave(later)
    bought = ExceptionEvent(event_type="bought")
    await world.campaign("cart", "cart_filled", delay=0.1, exceptions=[bought])
    await world.happens(world.event("cart_filled", "ana"))
    waiting = await delivered(world, "ana", Delivery.STATE_PENDING, attempts=1)

    await world.happens(world.event("bought", "ana"))

    decision = await world.decided("ana", Decision.STATE_EXITED)
    await misbehave()
    assert decision.gates[-1].name == "exception"
    assert (await world.delivery(waiting.name)).state == Delivery.STATE_CANCELED
    await world.all_judged("ana")
    assert await world.told() == []


async def test_an_exception_stops_what_still_waits_for_a_slow_receiver(
    world: World, misbehave: Misbehave
) -> None:
    """So many are in flight to one host at once; the others wait in delivery's hands."""
    await misbehave(Fault(kind=Kind.STALL, target=f"/{world.workspace}", seconds=50.0))
    bought = ExceptionEvent(event_type="bought")
    await world.campaign("cart", "cart_filled", delay=0.1, exceptions=[bought])
    people = [f"p{number}" for number in range(60)]
    await world.happens(*(world.event("cart_filled", one) for one in people))
    # It arrives before it is answered: then the lane is full.
    first = await eventually(world.requests, lambda found: len(found) >= 32)

    await world.happens(*(world.event("bought", one) for one in people))

    async def decisions() -> list[Decision]:
        return [(await world.decisions(one, "cart"))[0] for one in people]

    found = await eventually(decisions, lambda seen: all(map(_heard_of_exception, seen)))
    await misbehave()
    await world.all_judged(*people)
    stopped = [one.state for one in found].count(Decision.STATE_EXITED)
    assert len(first) + stopped >= len(people) - 4
    assert len(await world.told()) == len(people) - stopped


def _heard_of_exception(decision: Decision) -> bool:
    """Say whether it is over, one way or the other, for an event that would stop it."""
    over = decision.state in {Decision.STATE_SENT, Decision.STATE_EXITED}
    return over and any(one.name == "exception" and not one.passed for one in decision.gates)


async def test_what_did_not_go_out_gives_its_place_under_the_cap_back(
    world: World, misbehave: Misbehave
) -> None:
    await world.cap(1, rolling=True)
    await misbehave(a_fault(world, Kind.REFUSE, status=400, times=1))
    await world.campaign("order", "ordered")
    await world.happens(world.event("ordered", "ana"))
    await delivered(world, "ana", Delivery.STATE_FAILED)

    async def another() -> list[object]:
        await world.happens(world.event("ordered", "ana"))
        return await world.told()

    assert len(await eventually(another)) == 1
