"""Spans and instants as people write them: `30m`, `1h30m`, `2010-12-01T08:26:00Z`."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")
_WHOLE = re.compile(rf"-?(?:{_PART.pattern})+")

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|[wdhms]))+$"
"""What `parse_duration` takes, for editors."""
SIGNED_PATTERN = DURATION_PATTERN.replace("^", "^-?")
"""With `signed`."""

_DURATION_FORM = "expected a duration such as 30m, 2h, 14d or 1h30m (units: w d h m s ms)"
_SIGNED_FORM = "expected a duration such as 30m, 2h, -3d or 1h30m (units: w d h m s ms)"
_TIME_FORM = "expected a time such as 2026-12-01T09:00:00Z (RFC 3339, with a zone)"


def parse_duration(text: str, *, signed: bool = False) -> timedelta:
    """Read `30m`, `2h`, `14d`, `1h30m`, `1.5s`; where it is `signed`, `-3d`, too.

    Raises:
        ValueError: It is none; the text says what one looks like.
    """
    negative = text.startswith("-")
    if _WHOLE.fullmatch(text) is None or (negative and not signed):
        form = _SIGNED_FORM if signed else _DURATION_FORM
        raise ValueError(f"{text!r} is no duration; {form}")
    try:
        parts = [float(number) * _UNITS[unit] for number, unit in _PART.findall(text)]
        span = sum(parts, timedelta())
        return -span if negative else span
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a duration") from error


def format_duration(span: timedelta) -> str:
    """Write a span so that `parse_duration` reads it back, in the fewest units."""
    if span < timedelta():
        return f"-{format_duration(-span)}"
    milliseconds, rest = divmod(span, _UNITS["ms"])
    if rest:
        return f"{span.total_seconds():f}".rstrip("0") + "s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, int(_UNITS[unit] / _UNITS["ms"]))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 instant.

    Raises:
        ValueError: It is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; {_TIME_FORM}") from error
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; {_TIME_FORM}")
    return moment.astimezone(UTC)


def short(span: timedelta) -> str:
    """Write how long something took, in three digits: `1.24 ms`, `20.0 s`, `2 h 05 m`."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"  # noqa: PLR2004 — a thousandth.
    if span < timedelta(minutes=2):
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004 — minutes an hour.
        return f"{minutes} m"
    return f"{minutes // 60} h {minutes % 60:02} m"
