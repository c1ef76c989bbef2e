"""The 29th to 31st of a schedule, in months that have no such day: their last day.

RFC 5545 and cron leave such months out; who says `the 31st` means the end of each month.
"""

from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime

# Every month has days up to this one.
_SURE = 28
_DAYS_MAX = 31
_DAYS_OF_CRON, _WEEKDAYS_OF_CRON = 2, 4
# Parts of a rule beside which a day of the month is the day that it names.
_BESIDE = frozenset(
    {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYHOUR", "BYMINUTE"}
)


def rule_with_last_days(parts: Mapping[str, str], first: datetime) -> str:
    """Return a recurrence that falls on the last day of months that have not the day it names.

    Only one that names one day, and one time of it: of several nobody can say which is meant.
    """
    day = _day_of_rule(parts, first)
    if day <= _SURE or not _BESIDE.issuperset(parts) or "," in parts.get("BYHOUR", ""):
        return _text(parts)
    days = ",".join(str(one) for one in range(_SURE, day + 1))
    meant = {**parts, "BYMONTHDAY": days, "BYSETPOS": "-1"}
    if parts["FREQ"] == "YEARLY":
        meant["BYMONTH"] = parts.get("BYMONTH", str(first.month))
    return _text(meant)


def cron_with_last_days(fields: list[str]) -> tuple[str, int]:
    """Return a cron line that comes on the last days of months too, and the day it is about.

    Of what it comes to only those times are meant that `is_meant` lets through. 0: it names no
    day that a month may lack.
    """
    days, weekdays = fields[_DAYS_OF_CRON], fields[_WEEKDAYS_OF_CRON]
    day = int(days) if days.isascii() and days.isdigit() else 0
    if weekdays != "*" or not _SURE < day <= _DAYS_MAX:
        return " ".join(fields), 0
    return " ".join([*fields[:_DAYS_OF_CRON], f"{_SURE}-{day}", *fields[3:]]), day


def is_meant(time: datetime, day: int) -> bool:
    """Say whether a time falls on a day of the month, or on the last of one that has it not."""
    return not day or time.day == min(day, monthrange(time.year, time.month)[1])


def _day_of_rule(parts: Mapping[str, str], first: datetime) -> int:
    said = parts.get("BYMONTHDAY")
    one_month = "," not in parts.get("BYMONTH", "")
    # A day of a year without a month is that of every month.
    yearly = parts["FREQ"] == "YEARLY" and one_month and (said is None or "BYMONTH" in parts)
    if not yearly and parts["FREQ"] != "MONTHLY":
        return 0
    if said is None:
        return first.day
    return int(said) if said.isascii() and said.isdigit() else 0


def _text(parts: Mapping[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in parts.items())
