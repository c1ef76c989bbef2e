"""Durations and timestamps that stand in a filter, as microseconds."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS_US = {
    "h": Fraction(3_600_000_000),
    "m": Fraction(60_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1000),
    "us": Fraction(1),
    "ns": Fraction(1, 1000),
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|ns|m|s)")
_SPAN = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d{1,9})?(?:(Z)|([+-]\d\d:\d\d))")
# A few of them added up stay within what 64 bits hold.
SPAN_MAX_US = 100 * 366 * 86_400_000_000


def span_us(text: str) -> int | None:
    """Return the length of `1h30m`; None where it is none, or is over 100 years."""
    whole = _SPAN.fullmatch(text)
    if whole is None:
        return None
    total = sum(Fraction(part[1]) * _UNITS_US[part[2]] for part in _PART.finditer(whole[2]))
    us = int(total)
    if us > SPAN_MAX_US:
        return None
    return -us if whole[1] == "-" else us


def moment_us(text: str) -> int | None:
    """Return an RFC 3339 timestamp since the epoch; None where it is none.

    Rounded as PostgreSQL rounds, so that an attribute of the same text is the same moment.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    zone = "+00:00" if match[4] else match[5]
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
        since = (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
    return since + round(float(match[3] or 0) * 1_000_000)
