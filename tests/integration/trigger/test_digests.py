"""Holds digests to their word: what is gathered is told once, together, and never what was taken back."""

from datetime import timedelta

import msgspec
import pytest
from beckon.throttle.v1.throttle_service_pb2 import Verdict
from beckon.trigger.v1.campaign_service_pb2 import Digest
from beckon.trigger.v1.decision_service_pb2 import Decision
from beckon.type.v1.channel_pb2 import Channel

from services.trigger.convert.times import to_timestamp
from tests.integration.trigger.digests import a_like, a_message, an_unlike, ids, likes, told
from tests.integration.trigger.house import House, an_event
from tests.integration.trigger.peers import Known
from tests.integration.trigger.test_broadcasts import a_fan_out, go, people


async def test_what_is_gathered_is_told_together_when_the_window_ends(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="one"), a_like("eve", id="two"))
    await house.work()
    early = list(house.out)

    house.clock.advance(minutes=4)
    await house.append(a_like("joe", "p2", id="three"))
    await house.work()
    house.clock.advance(minutes=6)
    await house.work()

    assert early == []
    [message] = house.out
    assert message.profile == "workspaces/acme/profiles/ana"
    digest = told(message)
    assert digest["count"] == 3
    assert ids(message)[0] == "three"
    assert [(one["object"], one["count"]) for one in digest["groups"]] == [("p2", 1), ("p1", 2)]
    assert msgspec.json.decode(message.data_json)["event"]["id"] == "three"


async def test_what_comes_after_the_flush_opens_the_next_window(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="one"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()
    at = house.clock.now() - timedelta(minutes=5)
    await house.append(a_like("eve", id="late", at=at))
    await house.work()
    once = len(house.out)
    house.clock.advance(minutes=10)
    await house.work()

    assert once == 1
    assert [ids(one) for one in house.out] == [["one"], ["late"]]


async def test_an_event_that_comes_twice_counts_once_also_after_its_window(house: House) -> None:
    await house.launch(likes())
    like = a_like("bob", id="one")
    await house.append(like, a_like("eve", id="two"))
    await house.work()
    for _ in range(2):
        for event in (like, a_like("eve", id="two")):
            house.memory.profile.forget(event.event_id)
            await house.append(event)
            await house.work()
        house.clock.advance(minutes=10)
        await house.work()

    assert [sorted(ids(one)) for one in house.out] == [["one", "two"]]


async def test_a_sliding_window_ends_after_a_pause_and_not_before(house: House) -> None:
    await house.launch(likes(sliding=(120, 300)))
    for number in range(4):
        await house.append(a_like(f"fan{number}", id=f"l{number}"))
        await house.work()
        assert house.out == []
        house.clock.advance(seconds=70)
    house.clock.advance(seconds=19)
    await house.work()
    before = list(house.out)
    house.clock.advance(seconds=1)
    await house.work()

    assert before == []
    assert [ids(one) for one in house.out] == [["l3", "l2", "l1", "l0"]]
    decision = await house.decision("l0")
    assert decision.due_time.ToDatetime() == decision.decide_time.ToDatetime() + timedelta(
        seconds=300
    )


async def test_windows_of_other_keys_are_other_windows(house: House) -> None:
    await house.launch(likes(key_property="photo"))
    await house.append(
        a_like("bob", "p1", id="a"), a_like("bob", "p2", id="b"), a_like("eve", "p1", id="c")
    )
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert sorted(sorted(ids(one)) for one in house.out) == [["a", "c"], ["b"]]


async def test_what_is_urgent_goes_at_once_with_the_campaigns_own_message(house: House) -> None:
    campaign = likes(urgent_filter="event.properties.close == true", message=a_message())
    campaign.reentry_interval.FromTimedelta(timedelta(0))
    await house.launch(campaign)
    await house.append(
        a_like("bob", id="now", close=True),
        a_like("eve", id="later", close=False),
        a_like("joe", id="now2", close=True),
    )
    await house.work()
    at_once = list(house.out)
    house.clock.advance(minutes=10)
    await house.work()

    assert sorted(msgspec.json.decode(one.data_json)["event"]["id"] for one in at_once) == [
        "now",
        "now2",
    ]
    assert {one.channel for one in at_once} == {Channel.CHANNEL_WEBHOOK}
    assert "digest" not in msgspec.json.decode(at_once[0].data_json)
    gathered = house.out[-1]
    assert len(house.out) == 3
    assert (ids(gathered), gathered.channel) == (["later"], Channel.CHANNEL_EMAIL)
    assert gathered.template == "workspaces/acme/templates/weekly"


async def test_reentry_is_asked_of_what_is_urgent_alone(house: House) -> None:
    await house.launch(likes(urgent_filter="event.properties.close == true"))
    for event in (
        a_like("bob", id="one"),
        a_like("eve", id="two", close=True),
        a_like("joe", id="three", close=True),
    ):
        await house.append(event)
        await house.work()

    assert (await house.decision("two")).state == Decision.STATE_SENT
    assert (await house.decision("three")).gates[-1].name == "reentry"


@pytest.mark.parametrize("where", ["", "event.properties.photo == trigger.properties.photo"])
async def test_what_is_taken_back_is_not_told(house: House, where: str) -> None:
    await house.launch(likes(undo=where))
    await house.append(a_like("bob", id="a"), a_like("eve", "p2", id="b"))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(an_unlike("bob"))
    await house.work()
    house.clock.advance(minutes=9)
    await house.work()

    [message] = house.out
    assert (ids(message), told(message)["count"]) == (["b"], 1)
    gone = await house.decision("a")
    assert (gone.gates[-1].name, gone.gates[-1].passed) == ("digest", False)


async def test_who_likes_again_is_told_again(house: House) -> None:
    await house.launch(likes())
    for event in (a_like("bob", id="a"), an_unlike("bob"), a_like("bob", id="b")):
        await house.append(event)
        await house.work()
        house.clock.advance(seconds=1)
    house.clock.advance(minutes=10)
    await house.work()

    assert [ids(one) for one in house.out] == [["b"]]


async def test_what_is_taken_back_before_it_comes_is_not_told_either(house: House) -> None:
    await house.launch(likes())
    now = house.clock.now()
    await house.append(an_unlike("bob", at=now))
    await house.work()
    await house.append(a_like("bob", id="a", at=now - timedelta(seconds=1)))
    await house.append(a_like("bob", id="b", at=now))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert [ids(one) for one in house.out] == [["b"]]
    refused = await house.decision("a")
    assert refused.state == Decision.STATE_REFUSED
    assert refused.gates[-1].name == "digest"


async def test_a_window_with_nothing_left_sends_nothing_and_says_so(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.append(an_unlike("bob"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()

    assert house.out == []
    [decision] = await house.decided()
    assert decision.state == Decision.STATE_EXITED
    assert [(one.name, one.passed) for one in decision.gates][-1] == ("digest", False)


async def test_an_exception_takes_out_what_it_would_have_stopped(house: House) -> None:
    await house.launch(likes(exceptions={"photos_seen": ""}))
    await house.append(a_like("bob", id="a"))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(an_event("photos_seen"))
    await house.work()
    house.clock.advance(minutes=1)
    await house.append(a_like("eve", id="b"))
    await house.work()
    house.clock.advance(minutes=8)
    await house.work()

    assert [ids(one) for one in house.out] == [["b"]]


async def test_a_deferred_digest_is_told_as_it_was_released(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"))
    await house.work()
    house.clock.advance(minutes=10)
    until = to_timestamp(house.clock.now() + timedelta(hours=1))
    house.memory.throttle.judge = lambda _: Verdict(
        defer=Verdict.Defer(until=until, gate="frequency_cap")
    )
    await house.work()
    held = list(house.out)
    house.memory.throttle.judge = lambda _: None
    await house.append(a_like("eve", id="b"), an_unlike("bob"))
    await house.work()
    house.clock.advance(minutes=10)
    await house.work()
    house.clock.advance(minutes=50)
    await house.work()

    assert held == []
    assert [ids(one) for one in house.out] == [["b"], ["a"]]


async def test_a_weekly_digest_goes_out_by_the_clock_of_each(house: House) -> None:
    calendar = Digest.Calendar(local_time="09:00", weekdays=[1])
    await house.launch(likes(calendar=calendar))
    # A Sunday, 12:00 UTC.
    house.memory.profile.profiles["workspaces/acme/profiles/ana"] = Known(time_zone="Asia/Kolkata")
    await house.append(a_like("bob", id="a"))
    await house.append(a_like("bob", owner="eve", id="b"))
    await house.work()
    due = [(await house.decision(one, who)).due_time for one, who in (("a", "ana"), ("b", "eve"))]

    assert [one.ToDatetime().isoformat() for one in due] == [
        "2026-03-02T03:30:00",
        "2026-03-02T09:00:00",
    ]


async def test_every_gathered_event_is_found_in_its_window(house: House) -> None:
    await house.launch(likes())
    await house.append(a_like("bob", id="a"), a_like("eve", id="b"))
    await house.work()

    decision = await house.decision("b")

    assert (decision.state, decision.item_count) == (Decision.STATE_WAITING, 2)
    assert decision == await house.decision("a")


async def test_what_is_told_to_all_followers_is_gathered_for_each(house: House) -> None:
    house.memory.watches.related["workspaces/acme/profiles/bob"] = people(house, 3)
    fan_out = a_fan_out()
    fan_out.digest.fixed.FromTimedelta(timedelta(minutes=10))
    await house.launch(fan_out)
    for name in ("first", "second"):
        await house.append(an_event("posted", profile="bob", id=name))
        await house.work()
        await go(house)
        house.clock.advance(minutes=1)
    house.clock.advance(minutes=10)
    await go(house)

    assert [ids(one) for one in house.out] == [["second", "first"]] * 3
    assert len({one.profile for one in house.out}) == 3
