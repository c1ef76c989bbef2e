"""Makes sure that an event leads to exactly the message that its campaign says."""

from collections import Counter
from datetime import UTC, timedelta

import msgspec
import pytest
from beckon.throttle.v1.throttle_service_pb2 import Verdict
from beckon.trigger.v1.campaign_service_pb2 import Recipient
from beckon.trigger.v1.decision_service_pb2 import Decision, ListDecisionsRequest

from mesh.errors import InvalidArgument
from services.trigger.convert.times import to_timestamp
from services.trigger.store import EnrollmentStore
from tests.integration.trigger.house import PARTITIONS, House, a_campaign, an_event


async def test_an_event_leads_to_one_delivery_with_its_data(house: House) -> None:
    await house.launch(a_campaign(filter="event.properties.value > 100.0"))
    await house.append(an_event(id="e", value=120, name="Ana"))

    await house.work()

    [created] = house.out
    data = msgspec.json.decode(created.data_json)
    assert created.profile == "workspaces/acme/profiles/ana"
    assert created.campaign == "workspaces/acme/campaigns/cart"
    assert created.template == "workspaces/acme/templates/cart"
    assert data["event"]["properties"] == {"value": 120, "name": "Ana"}
    assert data["profile"]["counters"] == {"cart_filled": {"count": 1}}
    decision = await house.decision("e")
    assert decision.State.Name(decision.state) == "STATE_SENT"
    assert [gate.name for gate in decision.gates] == [
        "campaign_active",
        "schedule",
        "lateness",
        "recipient",
        "filter",
        "exception",
        "reentry",
        "consent",
        "frequency_cap",
    ]
    assert all(gate.passed for gate in decision.gates)


async def test_an_event_that_the_filter_refuses_leaves_its_reason(house: House) -> None:
    await house.launch(a_campaign(filter="event.properties.value > 100.0"))
    await house.append(an_event(id="low", value=1), an_event(id="none", profile="bob"))

    await house.work()

    low, none = await house.decision("low"), await house.decision("none", "bob")
    assert house.out == []
    assert (low.State.Name(low.state), low.gates[-1].name) == ("STATE_REFUSED", "filter")
    assert "value" in none.gates[-1].detail
    assert not low.HasField("due_time")


async def test_an_event_of_no_interest_leaves_no_row(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(*(an_event("page_viewed") for _ in range(20)))

    await house.work()

    assert await house.decided() == []
    assert len(house.memory.profile.history["workspaces/acme/profiles/ana"]) == 20


async def test_a_duplicate_event_has_no_effect(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event(id="e"))
    await house.append(an_event(id="e"))

    await house.work()

    assert len(house.out) == 1
    assert len(await house.decided()) == 1


async def test_the_profile_may_decide(house: House) -> None:
    await house.launch(a_campaign(filter='profile.attributes.tier == "gold"'))
    await house.append(
        an_event("profile_updated", tier="gold"), an_event(id="gold"), an_event(profile="bob")
    )

    await house.work()

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/ana"]
    assert msgspec.json.decode(house.out[0].data_json)["profile"]["attributes"] == {"tier": "gold"}


async def test_a_message_waits_its_delay_from_the_occurrence(house: House) -> None:
    await house.launch(a_campaign(delay=600))
    await house.append(an_event(id="e", at=house.clock.now() - timedelta(seconds=100)))
    await house.work()
    house.clock.advance(seconds=499)
    await house.work()
    before = list(house.out)

    house.clock.advance(seconds=1)
    await house.work()

    assert before == []
    assert len(house.out) == 1
    decision = await house.decision("e")
    assert [gate.name for gate in decision.gates][7:] == [
        "campaign_active",
        "schedule",
        "expiry",
        "consent",
        "frequency_cap",
    ]


async def test_the_profile_is_asked_again_when_the_time_comes(house: House) -> None:
    await house.launch(a_campaign(delay=600, filter="!has(profile.attributes.gone)"))
    await house.append(an_event(id="e"))
    await house.work()
    await house.append(an_event("profile_updated", gone=True))

    house.clock.advance(seconds=600)
    await house.work()

    decision = await house.decision("e")
    assert house.out == []
    assert (decision.State.Name(decision.state), decision.gates[-1].name) == (
        "STATE_EXITED",
        "filter",
    )


async def test_a_late_event_begins_nothing(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(id="late", at=house.clock.now() - timedelta(hours=1, seconds=1)))
    await house.append(an_event(profile="bob", at=house.clock.now() - timedelta(hours=1)))

    await house.work()

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/bob"]
    assert (await house.decision("late")).gates[-1].name == "lateness"


async def test_a_wrong_clock_is_corrected_before_lateness_is_judged(house: House) -> None:
    await house.launch(a_campaign())
    wrong = house.clock.now() - timedelta(days=1)

    await house.append(an_event(at=wrong), clock_offset=timedelta(days=1))
    await house.work()

    assert len(house.out) == 1


async def test_the_recipient_may_be_somebody_whom_the_event_names(house: House) -> None:
    recipient = Recipient(event_property="owner")
    await house.launch(a_campaign(recipient=recipient, filter="profile.id == 'bob'"))
    await house.append(
        an_event(id="bob", owner="bob"),
        an_event(id="self", owner="ana"),
        an_event(id="nobody"),
        an_event(id="strange", owner={"id": "bob"}),
        an_event(id="carl", owner="carl"),
    )

    await house.work()

    assert [one.profile for one in house.out] == ["workspaces/acme/profiles/bob"]
    assert (await house.decision("bob", "bob")).state == Decision.STATE_SENT
    for event_id in ("self", "nobody", "strange"):
        assert (await house.decision(event_id)).gates[-1].name == "recipient"
    assert (await house.decision("carl", "carl")).gates[-1].name == "filter"


async def test_nothing_enters_before_the_start_or_from_the_end_on(house: House) -> None:
    now = house.clock.now()
    campaign = a_campaign(reentry=0)
    campaign.start_time.CopyFrom(to_timestamp(now))
    campaign.end_time.CopyFrom(to_timestamp(now + timedelta(seconds=10)))
    await house.launch(campaign)
    await house.append(
        an_event(id="before", at=now - timedelta(seconds=1)),
        an_event(id="first", at=now),
        an_event(id="after", at=now + timedelta(seconds=10)),
    )
    await house.work()
    house.clock.advance(seconds=10)
    await house.append(an_event(id="late", at=now))
    await house.work()

    states = {one.event_id: one.state for one in await house.decided()}
    assert states == {
        "before": Decision.STATE_REFUSED,
        "first": Decision.STATE_SENT,
        "after": Decision.STATE_REFUSED,
        "late": Decision.STATE_REFUSED,
    }


async def test_a_waiting_message_dies_with_its_campaign(house: House) -> None:
    campaign = a_campaign(delay=600)
    campaign.end_time.CopyFrom(to_timestamp(house.clock.now() + timedelta(seconds=600)))
    await house.launch(campaign)
    await house.append(an_event(id="e"))
    await house.work()

    house.clock.advance(seconds=600)
    await house.work()

    assert house.out == []
    assert (await house.decision("e")).gates[-1].name == "schedule"


async def test_a_deferred_message_is_judged_again_at_its_time(house: House) -> None:
    until = house.clock.now() + timedelta(hours=10)
    verdict = Verdict(
        defer=Verdict.Defer(until=to_timestamp(until), gate="frequency_cap", detail="2 of 2 a day")
    )
    house.memory.throttle.judge = lambda _: verdict
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))
    await house.work()
    waiting = await house.decision("e")
    house.memory.throttle.judge = lambda _: None

    house.clock.advance(hours=10)
    await house.work()

    assert waiting.state == Decision.STATE_WAITING
    assert waiting.due_time.ToDatetime(UTC) == until
    assert len(house.out) == 1
    assert [gate.name for gate in (await house.decision("e")).gates if not gate.passed] == [
        "frequency_cap"
    ]


async def test_a_deferral_beyond_the_time_to_live_ends_it(house: House) -> None:
    until = house.clock.now() + timedelta(hours=73)
    verdict = Verdict(defer=Verdict.Defer(until=to_timestamp(until), gate="frequency_cap"))
    house.memory.throttle.judge = lambda _: verdict
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))

    await house.work()

    assert (await house.decision("e")).state == Decision.STATE_EXITED


async def test_a_suppressed_message_keeps_the_throttles_reason(house: House) -> None:
    verdict = Verdict(suppress=Verdict.Suppress(gate="consent", detail="unsubscribed from EMAIL"))
    house.memory.throttle.judge = lambda _: verdict
    await house.launch(a_campaign())
    await house.append(an_event(id="e"))

    await house.work()

    decision = await house.decision("e")
    assert house.out == []
    assert (decision.state, decision.gates[-1].name, decision.gates[-1].detail) == (
        Decision.STATE_EXITED,
        "consent",
        "unsubscribed from EMAIL",
    )


async def test_a_person_enters_once_unless_the_campaign_says_otherwise(house: House) -> None:
    await house.launch(a_campaign(), "once")
    await house.launch(a_campaign(reentry=60), "minutely")
    await house.launch(a_campaign(reentry=0), "always")
    for _ in range(3):
        await house.append(an_event(), an_event())
        await house.work()
        house.clock.advance(seconds=40)

    counts = Counter(one.campaign.rpartition("/")[2] for one in house.out)
    assert counts == {"once": 1, "minutely": 2, "always": 6}


async def test_entries_count_even_when_their_record_is_gone(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event())
    await house.work()
    house.clock.advance(days=100)
    store = EnrollmentStore(house.database, partitions=PARTITIONS)

    forgotten = await store.forget(house.clock.now() - timedelta(days=90), limit=10)
    await house.append(an_event(id="again"))
    await house.work()

    assert forgotten == 1
    assert (await house.decision("again")).gates[-1].name == "reentry"
    assert len(house.out) == 1


async def test_workspaces_do_not_meet(house: House) -> None:
    await house.launch(a_campaign())
    await house.append(an_event(workspace="other"), workspace="other")

    await house.work()

    assert house.out == []


async def test_an_event_id_that_comes_again_after_it_was_forgotten_sends_nothing_twice(
    house: House,
) -> None:
    await house.launch(a_campaign(reentry=0))
    await house.append(an_event(id="e"))
    await house.work()
    house.memory.profile.forget("e")
    await house.append(an_event(id="e"))

    await house.work()

    assert len(house.out) == 1
    assert len(await house.decided()) == 1


async def test_decisions_come_in_pages_newest_first(house: House) -> None:
    await house.launch(a_campaign(reentry=0))
    for number in range(5):
        await house.append(an_event(id=f"e{number}"))
        await house.work()
        house.clock.advance(seconds=1)
    parent = "workspaces/acme/profiles/ana"
    seen: list[str] = []
    request = ListDecisionsRequest(parent=parent, page_size=2)
    while True:
        page = await house.decisions.ListDecisions(request, None)
        seen += [one.event_id for one in page.decisions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == ["e4", "e3", "e2", "e1", "e0"]
    with pytest.raises(InvalidArgument):
        await house.decisions.ListDecisions(
            ListDecisionsRequest(parent=parent, event_id="e1", page_token=request.page_token), None
        )
