"""Makes sure of campaigns that go by a date of the person's own: planned, moved, gone through."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from beckon.trigger.v1 import campaign_service_pb2 as pb
from beckon.trigger.v1.decision_service_pb2 import Decision

from mesh.errors import Aborted, InvalidArgument, MeshError
from services.trigger.store import TurnStore
from tests.integration.trigger.house import NOW, House, a_campaign, an_event

ENDS = "trial_end"


def dated(*, days: float = 0, local_time: str = "", **rest: Any) -> pb.Campaign:
    date = pb.DateAttribute(attribute=ENDS, local_time=local_time)
    date.offset.FromTimedelta(timedelta(days=days))
    made = a_campaign(**rest)
    made.trigger.CopyFrom(pb.Trigger(date=date))
    return made


def known(house: House, value: object, profile: str = "ana", zone: str = "") -> None:
    """Let the profile hold a date, of which nobody is told."""
    one = house.memory.profile.profiles[f"workspaces/acme/profiles/{profile}"]
    one.time_zone = zone
    if value is None:
        one.attributes.pop(ENDS, None)
    else:
        one.attributes[ENDS] = value


async def sets(house: House, value: object, profile: str = "ana", **rest: Any) -> None:
    """Let the profile hold a date, and the log tell of it."""
    known(house, value, profile)
    told: dict[str, Any] = {} if value is None else {"to": value}
    await house.append(
        an_event("attribute_changed", profile=profile, attribute=ENDS, **told, **rest)
    )
    await house.work()


async def planned(house: House, profile: str = "ana") -> list[datetime]:
    found = [one for one in await house.decided(profile) if one.state == Decision.STATE_WAITING]
    return [one.due_time.ToDatetime(UTC) for one in found]


async def backfill(house: House) -> None:
    while await house.worker.backfills.run_once(house.stopping):
        pass


async def test_three_days_before_the_date(house: House) -> None:
    await house.launch(dated(days=-3))

    await sets(house, "2026-03-11T12:00:00Z")
    waiting = await planned(house)
    house.clock.advance(days=7)
    await house.work()

    assert waiting == [datetime(2026, 3, 8, 12, tzinfo=UTC)]
    assert len(house.out) == 1


async def test_a_day_is_hers_and_so_is_the_clock(house: House) -> None:
    await house.launch(dated(days=-3, local_time="09:00"))
    known(house, "2026-04-01", zone="Europe/Berlin")

    await backfill(house)

    # The clocks are set forward in between.
    assert await planned(house) == [datetime(2026, 3, 29, 7, tzinfo=UTC)]


async def test_a_date_that_moves_is_planned_anew(house: House) -> None:
    await house.launch(dated())
    await sets(house, "2026-03-11T12:00:00Z", id="first")

    await sets(house, "2026-03-05T12:00:00Z", id="earlier")
    first = await house.decision("first")
    house.clock.advance(days=4)
    await house.work()
    house.clock.advance(days=30)
    await house.work()

    assert (first.state, first.gates[-1].name) == (Decision.STATE_EXITED, "date")
    assert "moved" in first.gates[-1].detail
    assert len(house.out) == 1


async def test_without_the_date_nothing_is_sent_and_with_it_again_it_is(house: House) -> None:
    await house.launch(dated())
    await sets(house, "2026-03-11T12:00:00Z", id="first")

    await sets(house, None)
    gone = await house.decision("first")
    await sets(house, "2026-03-12T12:00:00Z")
    house.clock.advance(days=20)
    await house.work()

    assert gone.state == Decision.STATE_EXITED
    assert len(house.out) == 0
    house.clock.time = NOW


async def test_what_has_gone_out_counts_for_re_entry(house: House) -> None:
    await house.launch(dated())
    await sets(house, "2026-03-02T12:00:00Z")
    house.clock.advance(days=1)
    await house.work()

    await sets(house, "2026-03-11T12:00:00Z", id="again")

    assert len(house.out) == 1
    assert (await house.decision("again")).gates[-1].name == "reentry"


async def test_the_date_is_asked_for_again_when_the_message_is_due(house: House) -> None:
    await house.launch(dated())
    await sets(house, "2026-03-02T12:00:00Z", id="first")
    known(house, "2026-03-09T12:00:00Z")

    house.clock.advance(days=1)
    await house.work()
    after = await house.decision("first")
    # The log tells of it now only.
    await sets(house, "2026-03-09T12:00:00Z")

    assert (after.state, after.gates[-1].name) == (Decision.STATE_EXITED, "date")
    assert await planned(house) == [datetime(2026, 3, 9, 12, tzinfo=UTC)]


async def test_events_that_are_told_late_plan_nothing_that_was(house: House) -> None:
    await house.launch(dated())
    known(house, "2026-03-09T12:00:00Z")

    await house.append(
        an_event("attribute_changed", attribute=ENDS, to="2026-03-05T12:00:00Z", id="old")
    )
    await house.work()

    assert (await house.decision("old")).gates[-1].name == "date"


@pytest.mark.parametrize("value", ["soon", 17, True, "2026-02-30", {"a": 1}])
async def test_what_is_no_date_plans_nothing(house: House, value: object) -> None:
    await house.launch(dated())

    await sets(house, value, id="odd")

    decision = await house.decision("odd")
    assert (decision.gates[-1].name, decision.gates[-1].passed) == ("date", False)


async def test_a_planned_time_that_is_long_past_begins_nothing(house: House) -> None:
    await house.launch(dated(days=-3))

    await sets(house, (NOW + timedelta(days=1)).isoformat(), id="past")
    await sets(house, (NOW + timedelta(days=3, minutes=-30)).isoformat(), "bea")

    assert (await house.decision("past")).gates[-1].name == "wait"
    assert [one.profile.rpartition("/")[2] for one in house.out] == ["bea"]


async def test_local_time_goes_with_whole_days_only(house: House) -> None:
    with pytest.raises(InvalidArgument):
        await house.launch(dated(days=0.5, local_time="09:00"))


# At launch.


async def test_all_who_have_the_date_at_launch_are_planned_once(house: House) -> None:
    for number in range(5):
        known(house, "2026-03-11T12:00:00Z", f"p{number}")
    known(house, None, "none")

    await house.launch(dated())
    await backfill(house)
    await backfill(house)

    assert [len(await planned(house, f"p{number}")) for number in range(5)] == [1] * 5
    assert await planned(house, "none") == []


async def test_what_is_told_while_people_are_gone_through_wins(house: House) -> None:
    known(house, "2026-03-11T12:00:00Z")
    await house.launch(dated())
    await sets(house, "2026-03-20T12:00:00Z")

    await backfill(house)

    assert await planned(house) == [datetime(2026, 3, 20, 12, tzinfo=UTC)]


async def test_what_is_told_after_people_were_gone_through_is_planned_already(
    house: House,
) -> None:
    await house.launch(dated())
    known(house, "2026-03-20T12:00:00Z")
    await backfill(house)

    await sets(house, "2026-03-20T12:00:00Z", id="told")

    assert len(await planned(house)) == 1
    assert "already" in (await house.decision("told")).gates[-1].detail


@pytest.mark.parametrize("committed", [False, True])
async def test_a_crash_between_two_pages_plans_everybody_once(
    house: House, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    for number in range(5):
        known(house, "2026-03-11T12:00:00Z", f"p{number}")
    await house.launch(dated())
    real, calls = TurnStore.commit, 0

    async def dies(store: TurnStore, *args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            if committed:
                await real(store, *args, **options)
            raise Aborted(0, "died")  # type: ignore[arg-type]
        await real(store, *args, **options)

    monkeypatch.setattr(TurnStore, "commit", dies)
    with pytest.raises(MeshError):
        await backfill(house)
    monkeypatch.undo()
    successor = await house.succeed()
    while await successor.backfills.run_once(house.stopping):
        pass

    assert [len(await planned(house, f"p{number}")) for number in range(5)] == [1] * 5


async def test_two_workers_go_through_people_once(house: House) -> None:
    for number in range(7):
        known(house, "2026-03-11T12:00:00Z", f"p{number}")
    await house.launch(dated())
    other = house.another_worker("two")

    await asyncio.gather(backfill(house), other.backfills.run_once(house.stopping))

    assert [len(await planned(house, f"p{number}")) for number in range(7)] == [1] * 7
    assert house.memory.watches.streams == 1


async def test_a_campaign_that_is_archived_is_gone_through_no_further(house: House) -> None:
    known(house, "2026-03-11T12:00:00Z")
    made = await house.launch(dated())
    await house.campaigns.ArchiveCampaign(pb.ArchiveCampaignRequest(name=made.name), None)

    await backfill(house)

    assert await planned(house) == []


async def test_another_offset_plans_everybody_anew(house: House) -> None:
    known(house, "2026-03-20T12:00:00Z")
    made = await house.launch(dated(days=-1))
    await backfill(house)
    changed = dated(days=-2)
    changed.name = made.name

    await house.campaigns.UpdateCampaign(pb.UpdateCampaignRequest(campaign=changed), None)
    await backfill(house)

    assert await planned(house) == [datetime(2026, 3, 18, 12, tzinfo=UTC)]


async def test_who_is_united_keeps_the_plan_of_the_date_that_stays(house: House) -> None:
    await house.launch(dated())
    await sets(house, "2026-03-09T12:00:00Z", "phone")
    await sets(house, "2026-03-11T12:00:00Z", "ana")
    house.memory.profile.unite("ana", "phone")
    known(house, "2026-03-11T12:00:00Z", "phone")

    await house.append(
        an_event(
            "profile_merged",
            merge="m",
            into="ana",
            member_ids=["ana", "phone"],
            moved_ids=["phone"],
            version=1,
        )
    )
    await house.work()
    house.clock.advance(days=10)
    await house.work()

    assert len(house.out) == 1
