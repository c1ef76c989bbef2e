"""Rows of days without a gap."""

from bisect import bisect_right
from collections.abc import Iterable

from services.profile.model.traits import Days

# Half a year of every other day. What is older than the month in which an event may come late
# changes no more, but where ids are united.
RANGES_MAX = 100


def add_day(days: Days, day: int) -> None:
    """Put a day in: it makes a row, makes one longer, or makes two one."""
    at = bisect_right(days, (day, day))
    first = last = day
    begin = end = at
    if at and days[at - 1][1] >= day - 1:
        begin = at - 1
        first, last = days[begin][0], max(last, days[begin][1])
    if at < len(days) and days[at][0] <= last + 1:
        end = at + 1
        last = max(last, days[at][1])
    days[begin:end] = [(first, last)]
    if len(days) > RANGES_MAX:
        _forget_one(days)


def unite(several: Iterable[Days]) -> Days:
    """Return the rows of days that are in any."""
    united: Days = []
    for first, last in sorted(row for days in several for row in days):
        if united and first <= united[-1][1] + 1:
            united[-1] = united[-1][0], max(last, united[-1][1])
        else:
            united.append((first, last))
    return united


def current(days: Days, today: int) -> int:
    """Return the length of the row that reaches today or yesterday."""
    if not days or days[-1][1] < today - 1:
        return 0
    return _length(days[-1])


def longest(days: Days) -> int:
    """Return the length of the longest row."""
    return max(map(_length, days), default=0)


def _forget_one(days: Days) -> None:
    """Forget the oldest, but never the longest."""
    is_longest = _length(days[0]) > longest(days[1:])
    del days[1 if is_longest else 0]


def _length(row: tuple[int, int]) -> int:
    return row[1] - row[0] + 1
