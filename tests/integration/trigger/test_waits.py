"""Makes sure that messages wait for the hour that it is where she is, and never for too long."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from beckon.throttle.v1.throttle_service_pb2 import Verdict
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1 import settings_service_pb2 as settings_pb
from beckon.trigger.v1.campaign_service_pb2 import Campaign, SendWindow, Wait
from google.protobuf.duration_pb2 import Duration
from google.type.dayofweek_pb2 import MONDAY, SUNDAY

from mesh.errors import InvalidArgument
from services.trigger.convert.times import to_timestamp
from services.trigger.servicer import SettingsServicer
from services.trigger.store import SettingsStore
from tests.integration.trigger.house import NOW, House, a_campaign, an_event

NINE = Wait(local_time="09:00")
DAYTIME = SendWindow(ranges=[SendWindow.Range(start="09:00", end="21:00")])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def lives(house: House, zone: str, profile: str = "ana") -> None:
    """Let a person be in a zone from now on."""
    house.memory.profile.profiles[f"workspaces/acme/profiles/{profile}"].time_zone = zone


async def works_at(house: House, text: str) -> None:
    house.clock.time = at(text)
    await house.work()


async def went_out_at(house: House, *texts: str) -> list[str]:
    """Return at which of some times something went out."""
    found = []
    for text in texts:
        before = len(house.out)
        await works_at(house, text)
        found += [text] * (len(house.out) - before)
    return found


async def test_a_message_waits_until_nine_in_kolkata(house: House) -> None:
    lives(house, "Asia/Kolkata")
    await house.launch(a_campaign(wait=NINE))
    await house.append(an_event(id="e"))

    out = await went_out_at(
        house, "2026-03-01T12:00", "2026-03-02T03:29:59", "2026-03-02T03:30", "2026-03-03T03:30"
    )

    assert out == ["2026-03-02T03:30"]
    decision = await house.decision("e")
    wait = next(gate for gate in decision.gates if gate.name == "wait")
    assert wait.detail == "due 2026-03-02T03:30:00Z, 09:00 in Asia/Kolkata"
    assert decision.due_time == to_timestamp(at("2026-03-02T03:30"))


async def test_a_local_time_that_is_left_out_is_the_next_there_is(house: House) -> None:
    """Clocks in Berlin went from 2:00 to 3:00 that night."""
    lives(house, "Europe/Berlin")
    house.clock.time = at("2026-03-28T12:00")
    await house.launch(a_campaign(wait=Wait(local_time="02:30")))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-28T12:00", "2026-03-29T00:59:59", "2026-03-29T01:00")

    assert out == ["2026-03-29T01:00"]


async def test_who_flies_away_while_waiting_gets_it_by_the_clock_where_she_is(
    house: House,
) -> None:
    lives(house, "Asia/Kolkata")
    await house.launch(a_campaign(wait=NINE))
    await house.append(an_event(id="e"))
    await house.work()

    lives(house, "America/New_York")
    out = await went_out_at(
        house, "2026-03-02T03:30", "2026-03-02T13:59:59", "2026-03-02T14:00", "2026-03-03T14:00"
    )

    assert out == ["2026-03-02T14:00"]
    waits = [gate for gate in (await house.decision("e")).gates if gate.name == "wait"]
    assert [(gate.passed, gate.detail) for gate in waits] == [
        (True, "due 2026-03-02T03:30:00Z, 09:00 in Asia/Kolkata"),
        (False, "due 2026-03-02T14:00:00Z, 09:00 in America/New_York"),
    ]


async def test_who_has_no_zone_gets_it_by_the_workspaces(house: House) -> None:
    settings = SettingsServicer(SettingsStore(house.database), house.clock)
    zone = settings_pb.Settings(name="workspaces/acme/settings", time_zone="Asia/Kolkata")
    await settings.UpdateSettings(settings_pb.UpdateSettingsRequest(settings=zone), None)
    await house.launch(a_campaign(wait=NINE))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T12:00", "2026-03-02T03:30")

    assert out == ["2026-03-02T03:30"]
    [send] = house.memory.throttle.reserved.values()
    assert send.time_zone == "Asia/Kolkata"


async def test_a_weekday_and_a_delay_come_one_after_the_other(house: House) -> None:
    """NOW is a Sunday: a day later it is Monday, past nine."""
    await house.launch(
        a_campaign(delay=24 * 3600, wait=Wait(local_time="09:00", weekdays=[SUNDAY, MONDAY]))
    )
    await house.append(an_event(id="e"))

    out = await went_out_at(
        house, "2026-03-02T12:00", "2026-03-03T09:00", "2026-03-08T08:59:59", "2026-03-08T09:00"
    )

    assert out == ["2026-03-08T09:00"]


async def test_a_time_of_the_events_own_is_counted_from(house: House) -> None:
    wait = Wait(event_property="departs", offset=Duration(seconds=-7200))
    await house.launch(a_campaign(wait=wait, reentry=0))
    await house.append(
        an_event(id="told", departs="2026-03-05T14:00:00+01:00"),
        an_event(id="untold", profile="bob"),
        an_event(id="gone", profile="cem", departs="2026-01-01T00:00:00Z"),
    )

    out = await went_out_at(house, "2026-03-01T12:00", "2026-03-05T10:59:59", "2026-03-05T11:00")

    assert out == ["2026-03-05T11:00"]
    untold, gone = await house.decision("untold", "bob"), await house.decision("gone", "cem")
    assert [untold.gates[-1].name, gone.gates[-1].name] == ["wait", "wait"]
    assert untold.gates[-1].detail == "departs is absent"
    assert gone.gates[-1].detail == "due 2025-12-31T22:00:00Z, expired since"


async def test_a_spread_is_the_same_when_it_is_judged_again(house: House) -> None:
    wait = Wait(spread=Duration(seconds=3600))
    await house.launch(a_campaign(wait=wait))
    await house.append(*(an_event(id=f"e{n}", profile=f"p{n}") for n in range(20)))
    await house.work()
    dues = {(await house.decision(f"e{n}", f"p{n}")).due_time.ToDatetime(UTC) for n in range(20)}

    for _ in range(12):
        house.clock.advance(minutes=5)
        await house.work()

    assert len(dues) == 20
    assert all(NOW <= due <= NOW + timedelta(hours=1) for due in dues)
    assert len(house.out) == 20


async def test_a_message_waits_for_its_window(house: House) -> None:
    lives(house, "America/New_York")
    house.clock.time = at("2026-03-02T03:00")
    await house.launch(a_campaign(send_window=DAYTIME))
    await house.append(an_event(id="e"))

    out = await went_out_at(
        house, "2026-03-02T03:00", "2026-03-02T13:59:59", "2026-03-02T14:00", "2026-03-03T14:00"
    )

    assert out == ["2026-03-02T14:00"]
    windows = [one for one in (await house.decision("e")).gates if one.name == "send_window"]
    assert [(one.passed, one.detail) for one in windows] == [
        (
            False,
            "closed at 22:00 in America/New_York; waits until 2026-03-02T14:00:00Z",
        ),
        (True, "open at 09:00 in America/New_York"),
    ]


async def test_a_window_that_was_slept_through_is_followed_by_the_next(house: House) -> None:
    """No worker ran from before it opened until after it closed."""
    house.clock.time = at("2026-03-01T22:00")
    await house.launch(a_campaign(send_window=DAYTIME))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T22:00", "2026-03-02T22:00", "2026-03-03T09:00")

    assert out == ["2026-03-03T09:00"]


async def test_a_message_that_throttle_defers_past_its_window_waits_for_the_next(
    house: House,
) -> None:
    until = to_timestamp(at("2026-03-01T23:00"))
    verdict = Verdict(defer=Verdict.Defer(until=until, gate="frequency_cap", detail="2 of 2"))
    house.memory.throttle.judge = lambda _: verdict
    await house.launch(a_campaign(send_window=DAYTIME))
    await house.append(an_event(id="e"))
    await house.work()

    house.memory.throttle.judge = lambda _: None
    out = await went_out_at(house, "2026-03-01T23:00", "2026-03-02T09:00")

    assert out == ["2026-03-02T09:00"]


async def test_a_message_dies_with_its_campaign_before_its_window_opens(house: House) -> None:
    house.clock.time = at("2026-03-01T22:00")
    end = to_timestamp(at("2026-03-02T08:00"))
    await house.launch(a_campaign(send_window=DAYTIME, end_time=end))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T22:00", "2026-03-02T09:00")

    assert out == []
    gate = (await house.decision("e")).gates[-1]
    assert (gate.name, gate.passed) == ("send_window", False)
    assert "too late: expires 2026-03-02T08:00:00Z" in gate.detail


async def test_a_message_that_waits_for_nine_dies_with_its_campaign(house: House) -> None:
    end = to_timestamp(at("2026-03-02T08:00"))
    await house.launch(a_campaign(wait=NINE, end_time=end))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T12:00", "2026-03-02T09:00")

    assert out == []
    assert (await house.decision("e")).gates[-1].name == "schedule"


async def test_a_window_that_opens_too_late_for_the_message_ends_it(house: House) -> None:
    house.clock.time = at("2026-03-01T22:00")
    await house.launch(a_campaign(send_window=DAYTIME, time_to_live=Duration(seconds=3600)))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T22:00", "2026-03-02T09:00")

    assert out == []
    assert (await house.decision("e")).gates[-1].name == "send_window"


async def test_who_buys_before_the_window_opens_hears_nothing(house: House) -> None:
    house.clock.time = at("2026-03-01T22:00")
    await house.launch(a_campaign(send_window=DAYTIME, exceptions={"order_placed": ""}))
    await house.append(an_event(id="e"))
    await house.work()

    house.clock.time = at("2026-03-02T08:59")
    await house.append(an_event("order_placed", id="o"))
    out = await went_out_at(house, "2026-03-02T08:59", "2026-03-02T09:00")

    assert out == []
    assert (await house.decision("e")).gates[-1].name == "exception"


async def test_a_paused_campaign_that_is_launched_at_night_waits_for_the_morning(
    house: House,
) -> None:
    made = await house.launch(a_campaign(send_window=DAYTIME, delay=3600))
    await house.append(an_event(id="e"))
    await house.work()
    await house.campaigns.PauseCampaign(pb.PauseCampaignRequest(name=made.name), None)
    await works_at(house, "2026-03-01T13:00")

    house.clock.time = at("2026-03-01T23:00")
    await house.campaigns.LaunchCampaign(pb.LaunchCampaignRequest(name=made.name), None)
    out = await went_out_at(house, "2026-03-01T23:00", "2026-03-02T09:00")

    assert out == ["2026-03-02T09:00"]


async def test_a_worker_that_takes_over_keeps_to_what_was_planned(house: House) -> None:
    lives(house, "Asia/Kolkata")
    await house.launch(a_campaign(wait=NINE))
    await house.append(an_event(id="e"))
    await house.work()

    successor = await house.succeed()
    house.clock.time = at("2026-03-02T03:30")
    await successor.partitions.run_once()
    await house.work(successor)

    assert len(house.out) == 1


def _window(**range_: Any) -> SendWindow:
    return SendWindow(ranges=[SendWindow.Range(**range_)])


@pytest.mark.parametrize(
    ("campaign", "field"),
    [
        (lambda: a_campaign(wait=Wait(weekdays=[MONDAY])), "campaign.wait.weekdays"),
        (lambda: a_campaign(wait=Wait(offset=Duration(seconds=-1))), "campaign.wait.offset"),
        (
            lambda: a_campaign(send_window=_window(start="09:00", end="09:00")),
            "campaign.send_window.ranges[0].end",
        ),
        (lambda: a_campaign(send_window=SendWindow()), "campaign.send_window.ranges"),
    ],
)
async def test_times_that_mean_nothing_are_refused_by_their_field(
    house: House, campaign: Callable[[], Campaign], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await house.launch(campaign())

    assert [one.field for one in refused.value.violations] == [field]


async def test_a_whole_day_is_a_window(house: House) -> None:
    window = SendWindow(ranges=[SendWindow.Range(start="00:00", end="00:00", weekdays=[MONDAY])])
    await house.launch(a_campaign(send_window=window))
    await house.append(an_event(id="e"))

    out = await went_out_at(house, "2026-03-01T12:00", "2026-03-01T23:59:59", "2026-03-02T00:00")

    assert out == ["2026-03-02T00:00"]
