"""Tells the other stories: who is told of what, how often, and how everything can be explained."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from beckon.delivery.v1.delivery_service_pb2 import Delivery
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.trigger.v1 import quarantine_service_pb2 as quarantine_pb
from beckon.trigger.v1.campaign_service_pb2 import ExceptionEvent
from beckon.trigger.v1.decision_service_pb2 import Decision
from google.protobuf.field_mask_pb2 import FieldMask

from mesh.clock import SystemClock
from stack.spans import Span, tree
from tests.stories.world import World
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


async def test_the_owner_of_a_review_hears_of_a_comment(world: World) -> None:
    body = "[{{ profile.id | tojson }}, {{ event.properties.by | tojson }}]"
    template = await world.template(body)
    await world.campaign("comment", "commented", to="owner", template=template)

    await world.happens(world.event("commented", "ana", owner="eve", by="Ana"))

    assert await eventually(world.webhooks) == [["eve", "Ana"]]


async def test_nobody_is_told_of_her_own_comment(world: World) -> None:
    await world.campaign("comment", "commented", to="owner")

    await world.happens(world.event("commented", "ana", owner="ana"))

    decision = await world.decided("ana", Decision.STATE_REFUSED)
    assert decision.gates[-1].name == "recipient"


async def test_a_mail_goes_to_the_address_of_the_moment(world: World) -> None:
    address = f"ana@{world.workspace}.example"
    template = await world.mail_template(
        "Hi {{ profile.attributes.name }}",
        "You wrote {{ event.properties.words }} words.",
        defaults={"profile.attributes.name": "there"},
    )
    await world.campaign("written", "wrote", template=template, email=True)
    await world.subscribe("ana", email=True)

    await world.happens(
        world.event("profile_updated", "ana", email=address, name="Ana"),
        world.event("wrote", "ana", words=12),
    )

    async def arrived() -> list[tuple[str, str]]:
        return [(mail.subject, mail.body.strip()) for mail in await world.mails(address)]

    assert await eventually(arrived) == [("Hi Ana", "You wrote 12 words.")]


async def test_who_never_agreed_to_mail_gets_none(world: World) -> None:
    template = await world.mail_template("Hi", "there")
    await world.campaign("written", "wrote", template=template, email=True)

    await world.happens(
        world.event("profile_updated", "ana", email=f"ana@{world.workspace}.example"),
        world.event("wrote", "ana"),
    )

    decision = await world.decided("ana", Decision.STATE_EXITED)
    assert decision.gates[-1].name == "consent"


async def test_no_more_than_the_cap_goes_out_in_a_day(world: World) -> None:
    await world.cap(2, rolling=True)
    await world.campaign("alert", "alerted")

    await world.happens(*[world.event("alerted", "ana") for _ in range(5)])

    async def states() -> list[int]:
        return sorted(one.state for one in await world.decisions("ana", "alert"))

    sent, exited = Decision.STATE_SENT, Decision.STATE_EXITED
    await eventually(states, lambda found: found == sorted([sent] * 2 + [exited] * 3))
    assert len(await eventually(world.webhooks, lambda found: len(found) == 2)) == 2


async def test_what_is_urgent_passes_the_cap(world: World) -> None:
    await world.cap(1, rolling=True)
    await world.campaign("alert", "alerted", critical=True)

    alerts = [world.event("alerted", "ana") for _ in range(3)]
    await world.happens(*alerts)

    told = await eventually(world.webhooks, lambda found: len(found) >= 3)
    assert sorted(told) == sorted(alert.event_id for alert in alerts)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles"])
async def test_a_capped_message_waits_for_the_next_day_where_its_recipient_is(
    world: World, zone: str
) -> None:
    await world.cap(1, defer=True)
    await world.campaign("alert", "alerted")

    await world.happens(
        world.event("profile_updated", "ana", time_zone=zone),
        world.event("alerted", "ana"),
        world.event("alerted", "ana"),
    )

    decision = await world.decided("ana", Decision.STATE_WAITING, "alert")
    assert decision.gates[-1].name == "frequency_cap"
    assert midnight_in(zone).isoformat() in decision.gates[-1].detail


def midnight_in(zone: str) -> datetime:
    """Return when the next day begins there."""
    there = SystemClock().now().astimezone(ZoneInfo(zone))
    tomorrow = (there + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return tomorrow.astimezone(UTC)


async def test_an_event_right_after_the_launch_is_judged_with_the_campaign(world: World) -> None:
    expected = set()
    for number in range(10):
        name = await world.campaign(f"c{number}", f"kind_{number}", launch=False)
        await world.launch(name)
        event = world.event(f"kind_{number}", "ana")
        await world.happens(event)
        expected.add(event.event_id)

    await eventually(world.webhooks, lambda found: set(found) == expected)


async def test_an_event_that_comes_again_leads_to_nothing_more(world: World) -> None:
    await world.campaign("order", "ordered")
    event = world.event("ordered", "ana")

    for _ in range(3):
        await world.happens(event)
    await world.all_judged("ana")

    assert await world.told() == [event.event_id]
    assert len(await world.history("ana", "ordered")) == 1


async def test_an_event_id_is_for_one_event(world: World) -> None:
    await world.happens(world.event("ordered", "ana", event_id="e1", value=1))

    answer = await world.send(
        world.event("ordered", "ana", event_id="e1", value=2), world.event("ordered", "ana")
    )

    assert list(answer.failed_events) == [0]
    assert answer.accepted_count == 1


async def test_once_is_once(world: World) -> None:
    await world.campaign("welcome", "joined", once=True)
    first = world.event("joined", "ana")

    await world.happens(first, world.event("joined", "ana"))
    await world.happens(world.event("joined", "ana"))
    await world.all_judged("ana")

    assert await world.told() == [first.event_id]


async def test_a_decision_tells_every_gate_in_order(world: World) -> None:
    await world.cap(5)
    await world.campaign(
        "cart",
        "cart_filled",
        where="event.properties.value > 100.0",
        delay=0.2,
        exceptions=[ExceptionEvent(event_type="bought")],
    )

    await world.happens(world.event("cart_filled", "ana", value=120))

    decision = await world.decided("ana", Decision.STATE_SENT)
    assert [gate.name for gate in decision.gates] == [
        "campaign_active",
        "schedule",
        "lateness",
        "recipient",
        "filter",
        "exception",
        "reentry",
        "campaign_active",
        "schedule",
        "expiry",
        "filter",
        "exception",
        "consent",
        "frequency_cap",
    ]
    assert all(gate.passed and gate.detail for gate in decision.gates)
    times = [gate.time.ToNanoseconds() for gate in decision.gates]
    assert times == sorted(times)

    async def state() -> "Delivery.State.ValueType":
        return (await world.delivery(decision.delivery)).state

    await eventually(state, lambda found: found == Delivery.STATE_SENT)


async def test_a_message_that_was_sent_is_an_event_of_its_recipient(world: World) -> None:
    await world.campaign("order", "ordered")

    await world.happens(world.event("ordered", "ana"))

    async def receipts() -> list[profile_pb.ProfileEvent]:
        return await world.history("ana", "message_sent")

    assert len(await eventually(receipts)) == 1


async def test_what_could_not_be_judged_is_judged_once_the_reason_is_gone(world: World) -> None:
    await world.campaign("order", "ordered", where='profile.attributes.last == "yes"')
    profile = profile_pb.Profile(name=world.name("profiles", "ana"))
    profile.attributes.update({f"a{number}": number for number in range(256)})
    await world.profiles.UpdateProfile(
        profile_pb.UpdateProfileRequest(profile=profile, allow_missing=True)
    )

    await world.happens(world.event("profile_updated", "ana", last="yes"))
    found = (await eventually(world.quarantined))[0]
    profile.ClearField("attributes")
    await world.profiles.UpdateProfile(
        profile_pb.UpdateProfileRequest(
            profile=profile, update_mask=FieldMask(paths=["attributes"])
        )
    )
    await world.quarantine.ReplayQuarantinedEvents(
        quarantine_pb.ReplayQuarantinedEventsRequest(parent=world.parent, names=[found.name])
    )

    assert (found.type, found.profile) == ("profile_updated", profile.name)
    assert found.error.message
    await eventually(world.quarantined, lambda left: not left)
    event = world.event("ordered", "ana")
    await world.happens(event)
    assert await eventually(world.webhooks) == [event.event_id]


@pytest.mark.parametrize("delay", [0.0, 0.6])
async def test_one_trace_shows_the_whole_way_from_the_caller_to_the_sent_message(
    world: World, delay: float
) -> None:
    trace_id = TRACE_ID[:-1] + ("d" if delay else "c")
    await world.campaign("order", "ordered", delay=delay)
    event = world.event(
        "ordered", "ana", traceparent=f"00-{trace_id}-{PARENT_ID}-01", event_id=f"e-{trace_id}"
    )

    await world.happens(event)
    await eventually(world.webhooks)

    async def names() -> set[str]:
        return {span.name for span in await world.trace(trace_id)}

    expected = {"event", "log.wait", "observe", "judge", "reserve", "deliver", "render", "send"}
    expected |= {"timer.wait"} if delay else set()
    await eventually(names, lambda found: expected <= found)
    spans = {span.name: span for span in await world.trace(trace_id)}
    (root,) = tree(list(spans.values()))
    assert (root.span.name, root.span.parent_span_id) == ("event", PARENT_ID)
    assert spans["send"].parent_span_id == spans["deliver"].span_id
    assert spans["render"].parent_span_id == spans["deliver"].span_id
    in_order = ["event", "log.wait", "observe", "judge", "timer.wait", "reserve", "deliver"]
    assert_in_order([spans[name] for name in in_order if name in spans])
    assert_in_order([spans[name] for name in ("deliver", "render", "send")])
    if delay:
        assert spans["timer.wait"].duration >= timedelta(seconds=delay * 0.5)
    (request,) = await world.requests()
    assert request.headers["traceparent"].split("-")[1:3] == [trace_id, spans["send"].span_id]


def assert_in_order(spans: list[Span]) -> None:
    """Check that each span begins no earlier than the one before, and none ends before it began."""
    starts = [span.start_time for span in spans]
    assert starts == sorted(starts), [(span.name, span.start_time) for span in spans]
    assert all(span.start_time <= span.end_time for span in spans)


async def test_a_hundred_people_at_once_get_one_message_each(world: World) -> None:
    await world.campaign("order", "ordered")
    events = [world.event("ordered", f"p{number}") for number in range(100)]

    await asyncio.gather(*(world.happens(*events[at : at + 10]) for at in range(0, 100, 10)))

    expected = sorted(event.event_id for event in events)
    await eventually(world.webhooks, lambda found: sorted(found) == expected)
