"""Waits and send windows of a campaign, checked and ready to be reckoned with."""

from collections.abc import Iterable

from beckon.trigger.v1.campaign_service_pb2 import Campaign, SendWindow

from mesh.errors import invalid_field
from services.trigger.convert.times import from_duration
from services.trigger.model import AT_ONCE, Hours, LocalTime, Timing


def check_timing(campaign: Campaign) -> None:
    """Raise InvalidArgument, naming the field, unless the times of a campaign mean something."""
    wait = campaign.wait
    if wait.weekdays and not wait.local_time:
        raise invalid_field(
            "campaign.wait.weekdays", "are days of a local_time, which is not set", reason="wait"
        )
    before = from_duration(wait.offset) + from_duration(campaign.delay)
    if not wait.event_property and before.total_seconds() < 0:
        raise invalid_field(
            "campaign.wait.offset",
            "would be before the event; only a time that an event_property holds has a before",
            reason="wait",
        )
    if campaign.HasField("send_window") and not campaign.send_window.ranges:
        # An update may have cleared what the schema requires of a whole window.
        raise invalid_field("campaign.send_window.ranges", "are required", reason="required")
    for index, hours in enumerate(campaign.send_window.ranges):
        _check_hours(f"campaign.send_window.ranges[{index}]", hours)


def to_timing(campaign: Campaign) -> Timing:
    """Return when the messages of a campaign are due, and when they may go out."""
    wait = campaign.wait
    timing = Timing(
        event_property=wait.event_property,
        offset=from_duration(wait.offset),
        local_time=(local_time_of(wait.local_time, wait.weekdays) if wait.local_time else None),
        spread=from_duration(wait.spread),
        window=tuple(
            Hours(_minute(one.start), _minute(one.end), _weekdays(one.weekdays))
            for one in campaign.send_window.ranges
        ),
    )
    return AT_ONCE if timing == AT_ONCE else timing


def local_time_of(text: str, weekdays: Iterable[int]) -> LocalTime:
    """Return a time of day, as `HH:MM`, on some days of the week."""
    return LocalTime(_minute(text), _weekdays(weekdays))


def _check_hours(field: str, hours: SendWindow.Range) -> None:
    if hours.start == hours.end and hours.start != "00:00":
        raise invalid_field(
            f"{field}.end",
            "is the start: that may be nothing or all day; a whole day is 00:00 to 00:00",
            reason="send_window",
        )


def _minute(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _weekdays(days: Iterable[int]) -> frozenset[int]:
    # Those of google.type.DayOfWeek: Monday is 1, Sunday is 7.
    return frozenset(days)
