"""Timestamps as events and profiles hold them."""

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6})\d*)?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)
# The longest is of nanoseconds; more digits say nothing, and may be many.
_LENGTH_MAX = 64


def parse_timestamp(value: object) -> datetime | None:
    """Return the moment of an RFC 3339 timestamp, to the microsecond; None: it is none."""
    if not isinstance(value, str) or len(value) > _LENGTH_MAX:
        return None
    match = _RFC3339.fullmatch(value)
    if match is None:
        return None
    date, time, fraction, offset = match.groups()
    text = f"{date}T{time}.{(fraction or '0').ljust(6, '0')}{offset.upper()}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
