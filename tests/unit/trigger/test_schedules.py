"""Planned times: as a naive count of minutes says, on the nights clocks change too."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from beckon.trigger.v1.campaign_service_pb2 import Audience, Campaign, Schedule, Trigger
from dateutil.rrule import rrulestr
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.trigger.convert.schedules import check_audience, to_schedule, with_audience
from services.trigger.model import Plan
from services.trigger.rules import next_planned
from services.trigger.rules.schedules import recipient_base
from tests.unit.trigger.builders import a_plan, an_occurrence

LAUNCHED = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVERYONE = Audience(everyone=True)
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]


def scheduled(**times: Any) -> Plan:
    trigger = Trigger(schedule=Schedule(audience=EVERYONE, **times))
    return with_audience(a_plan(), Campaign(trigger=trigger))


def times(plan: Plan, count: int, launched: datetime = LAUNCHED) -> list[datetime]:
    found: list[datetime] = []
    after: datetime | None = None
    while len(found) < count:
        planned = next_planned(plan, launched=launched, after=after)
        if planned is None:
            break
        after = planned.start_time
        found.append(after)
    return found


def naive(civil: datetime, zone: str) -> datetime:
    """The first instant whose clock shows at least that, counted minute by minute."""
    moment = civil.replace(tzinfo=UTC) - timedelta(hours=15)
    shown = ZoneInfo(zone)
    while moment.astimezone(shown).replace(tzinfo=None) < civil:
        moment += timedelta(minutes=1)
    return moment


def test_without_a_time_it_goes_out_at_launch_and_never_again() -> None:
    assert times(scheduled(), 3) == [LAUNCHED]


def test_once_is_once() -> None:
    plan = scheduled(date_time="2026-02-01T09:00", time_zone="Europe/Berlin")

    assert times(plan, 3) == [datetime(2026, 2, 1, 8, tzinfo=UTC)]


def test_a_rule_counts_from_its_first_time() -> None:
    plan = scheduled(date_time="2026-01-05T09:00", recurrence="FREQ=WEEKLY;BYDAY=MO;COUNT=3")

    assert [one.date() for one in times(plan, 9)] == [
        date(2026, 1, 5),
        date(2026, 1, 12),
        date(2026, 1, 19),
    ]


@given(
    first=st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31)),  # noqa: DTZ001 — civil
    day=st.integers(1, 31),
    every=st.integers(1, 5),
)
def test_a_day_that_a_month_lacks_is_its_last(first: datetime, day: int, every: int) -> None:
    first = first.replace(day=min(day, monthrange(first.year, first.month)[1]))
    said = {"recurrence": f"FREQ=MONTHLY;INTERVAL={every};BYMONTHDAY={day}"}
    if first.day == day:
        said["recurrence"] = f"FREQ=MONTHLY;INTERVAL={every}"
    plan = scheduled(date_time=first.isoformat(timespec="minutes"), **said)

    found = times(plan, 6, datetime(2023, 1, 1, tzinfo=UTC))

    months = [divmod(first.year * 12 + first.month - 1 + every * one, 12) for one in range(6)]
    assert [(one.year, one.month - 1) for one in found] == months
    assert [one.day for one in found] == [
        min(day, monthrange(year, month + 1)[1]) for year, month in months
    ]


@pytest.mark.parametrize("day", range(1, 32))
def test_a_day_that_a_month_lacks_is_its_last_for_cron_too(day: int) -> None:
    plan = scheduled(cron=f"30 9,17 {day} * *")

    found = times(plan, 48, datetime(2027, 12, 31, 23, tzinfo=UTC))

    assert [(one.month, one.day, one.hour) for one in found] == [
        (month, min(day, monthrange(year, month)[1]), hour)
        for year in (2028, 2029)
        for month in range(1, 13)
        for hour in (9, 17)
    ]


@pytest.mark.parametrize(
    ("recurrence", "days"),
    [
        # Who was born on a leap day has a birthday every year.
        ("FREQ=YEARLY", ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=31", ["2024-02-29", "2024-04-30", "2025-04-30"]),
        # Of what names more than one day nobody can say which is meant.
        ("FREQ=MONTHLY;BYMONTHDAY=15,31", ["2024-02-29", "2024-03-15", "2024-03-31", "2024-04-15"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-30", ["2024-02-29", "2024-03-02", "2024-04-01"]),
        ("FREQ=YEARLY;BYMONTHDAY=31", ["2024-02-29", "2024-03-31", "2024-05-31"]),
        ("FREQ=WEEKLY", ["2024-02-29", "2024-03-07"]),
    ],
)
def test_a_leap_day_and_its_like(recurrence: str, days: list[str]) -> None:
    plan = scheduled(date_time="2024-02-29T09:00", recurrence=recurrence)

    found = times(plan, len(days), datetime(2023, 1, 1, tzinfo=UTC))

    assert [one.date().isoformat() for one in found] == days


def test_the_last_day_of_each_month_can_be_said() -> None:
    plan = scheduled(date_time="2026-01-31T09:00", recurrence="FREQ=MONTHLY;BYMONTHDAY=-1")

    assert [one.day for one in times(plan, 3)] == [31, 28, 31]


def test_a_time_before_launch_is_over() -> None:
    plan = scheduled(cron="0 9 * * *")

    assert times(plan, 1) == [datetime(2026, 1, 2, 9, tzinfo=UTC)]


def test_nothing_is_planned_before_the_start_or_from_the_end_on() -> None:
    trigger = Trigger(schedule=Schedule(audience=EVERYONE, cron="0 9 * * *"))
    plan = with_audience(
        a_plan(
            start_time=datetime(2026, 2, 1, tzinfo=UTC), end_time=datetime(2026, 2, 3, tzinfo=UTC)
        ),
        Campaign(trigger=trigger),
    )

    assert times(plan, 9) == [
        datetime(2026, 2, 1, 9, tzinfo=UTC),
        datetime(2026, 2, 2, 9, tzinfo=UTC),
    ]


@example(zone="America/New_York", minute=30, hour=2, day=date(2026, 3, 7))
@example(zone="America/New_York", minute=30, hour=1, day=date(2026, 10, 31))
@example(zone="Australia/Lord_Howe", minute=15, hour=2, day=date(2026, 10, 3))
@given(
    zone=st.sampled_from(ZONES),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.dates(date(2026, 1, 2), date(2027, 12, 1)),
)
def test_a_daily_time_is_the_first_instant_that_shows_it(
    zone: str, minute: int, hour: int, day: date
) -> None:
    plan = scheduled(cron=f"{minute} {hour} * * *", time_zone=zone)
    launched = naive(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 — civil

    civil = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 — civil
    expected = [naive(civil + timedelta(days=days), zone) for days in range(4)]

    assert times(plan, 4, launched) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_hourly_times_are_an_hour_apart_or_the_clock_was_moved(zone: str) -> None:
    plan = scheduled(cron="0 * * * *", time_zone=zone)
    for launched in (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)):
        found = times(plan, 60, launched)
        gaps = {later - one for one, later in zip(found, islice(found, 1, None), strict=False)}
        assert found == sorted(set(found))
        assert gaps <= {timedelta(hours=1), timedelta(hours=2), timedelta(minutes=30),
                        timedelta(minutes=90)}  # fmt: skip


def test_by_the_recipients_clock_it_begins_where_the_day_is_first() -> None:
    plan = scheduled(date_time="2026-12-01T09:00", recipient_time=True)

    assert times(plan, 2) == [datetime(2026, 11, 30, 19, tzinfo=UTC)]


@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    day=st.dates(date(2026, 1, 2), date(2027, 12, 1)),
)
def test_it_is_due_when_her_clock_shows_it_and_never_before_it_begins(
    zone: str, hour: int, day: date
) -> None:
    civil = datetime(day.year, day.month, day.day, hour)  # noqa: DTZ001 — civil
    shown = civil.isoformat(timespec="minutes")
    plan = scheduled(date_time=shown, recipient_time=True)
    planned = next_planned(plan, launched=datetime(2025, 1, 1, tzinfo=UTC), after=None)
    assert planned is not None
    event = an_occurrence("schedule", at=planned.start_time, planned_time=planned.civil)

    due = recipient_base(plan, event, zone)

    assert due == naive(civil, zone)
    assert due >= planned.start_time


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ({"cron": "*/30 * * * *"}, "oftener than hourly"),
        ({"cron": "0 9 * *"}, "4 fields"),
        ({"cron": "0 25 * * *"}, "Bad hour"),
        ({"recurrence": "FREQ=DAILY"}, "date_time"),
        ({"date_time": "2026-02-30T09:00"}, "no time of any day"),
        ({"date_time": "2026-02-01T09:00", "recurrence": "FREQ=MINUTELY"}, "oftener than hourly"),
        (
            {"date_time": "2026-02-01T09:00", "recurrence": "FREQ=DAILY;BYMINUTE=0,30"},
            "oftener than hourly",
        ),
        ({"date_time": "2026-02-01T09:00", "recurrence": "FREQ=SOMETIMES"}, "FREQ must be one of"),
        ({"date_time": "2026-02-01T09:00", "recurrence": "FREQ=DAILY;BYDAY=XX"}, "recurrence"),
        (
            {"date_time": "2026-02-01T09:00", "recurrence": "DTSTART:20260101\nFREQ=DAILY"},
            "one rule",
        ),
        (
            {"date_time": "2026-02-01T09:00", "recurrence": "FREQ=DAILY", "cron": "0 9 * * *"},
            "cannot be set with recurrence",
        ),
        ({"recipient_time": True}, "needs date_time or cron"),
        ({"cron": "0 9 * * *", "time_zone": "Europe/Atlantis"}, "no IANA time zone"),
    ],
)
def test_what_makes_no_times_is_refused_with_the_reason(times: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        to_schedule(Schedule(audience=EVERYONE, **times))

    told = [f"{one.field} {one.description}" for one in refused.value.violations]
    assert says in str(told)
    assert "campaign.trigger.schedule." in str(told)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=YEARLY;INTERVAL=99999999999",
        "FREQ=HOURLY;COUNT=999999999999",
        "FREQ=DAILY;BYMONTH=13",
        "FREQ=DAILY;BYWEEKNO=99",
        "FREQ=DAILY;BYSECOND=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYSETPOS=366",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29,30",
    ],
)
def test_a_rule_that_never_comes_again_is_refused_and_does_not_hang(rule: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        to_schedule(
            Schedule(audience=EVERYONE, date_time="2026-02-01T09:00", recurrence=rule),
        )

    assert refused.value.violations[0].field == "campaign.trigger.schedule.recurrence"


@given(
    frequency=st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    interval=st.integers(1, 9),
    by=st.sampled_from(["", ";BYDAY=MO,FR", ";BYMONTH=3,4", ";BYHOUR=3,4,9", ";COUNT=30"]),
    later=st.integers(0, 24 * 900),
)
def test_a_rule_comes_to_the_same_times_however_late_it_is_asked(
    frequency: str, interval: int, by: str, later: int
) -> None:
    rule = f"FREQ={frequency};INTERVAL={interval}{by}"
    first = datetime(2026, 2, 2, 9)  # noqa: DTZ001 — civil
    after = first + timedelta(hours=later, minutes=30)
    try:
        times = to_schedule(
            Schedule(audience=EVERYONE, date_time="2026-02-02T09:00", recurrence=rule)
        )
    except InvalidArgument:
        return
    assert times.again is not None

    assert times.again(after) == rrulestr(rule, dtstart=first).after(after)


def test_a_rule_of_long_ago_is_there_at_once() -> None:
    times = to_schedule(
        Schedule(audience=EVERYONE, date_time="1971-01-01T09:00", recurrence="FREQ=HOURLY")
    )
    assert times.again is not None

    now = datetime(2026, 2, 2, 9)  # noqa: DTZ001 — civil
    assert times.again(now) == now + timedelta(hours=1)


def test_an_empty_filter_is_nobodys_audience() -> None:
    campaign = Campaign(trigger=Trigger(schedule=Schedule(audience=Audience(filter=""))))

    with pytest.raises(InvalidArgument) as refused:
        check_audience(campaign, "acme")

    assert refused.value.violations[0].field == "campaign.trigger.schedule.audience.filter"


def test_an_audience_of_another_workspace_is_refused() -> None:
    audience = Audience(segment="workspaces/other/segments/gold")
    campaign = Campaign(trigger=Trigger(schedule=Schedule(audience=audience)))

    with pytest.raises(InvalidArgument):
        check_audience(campaign, "acme")
