"""How times are written in scenarios."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from whenever import (
    PlainDateTime,
    RepeatedTime,
    SkippedTime,
    TimeZoneNotFoundError,
)

from cli.durations import parse_duration

_LOCAL = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(?: (\S+))?")
_SIGNED = re.compile(r"([+-])(.+)")
_FORM = (
    "expected a time such as 2026-03-29 09:00 (by the clock of `zone`),"
    " 2026-03-29 09:00 Asia/Kolkata, 2026-03-29T07:00:00Z or +30m"
)


def parse(text: str, *, zone: str, since: datetime | None) -> datetime:
    """Return the instant that is meant.

    Raises:
        ValueError: It is none; the text says what one looks like.
    """
    text = " ".join(text.split())
    if signed := _SIGNED.fullmatch(text):
        if since is None:
            raise ValueError(f"{text!r} needs a time before it to be counted from")
        span = parse_duration(signed[2])
        return since + span if signed[1] == "+" else since - span
    if local := _LOCAL.fullmatch(text):
        return _local(f"{local[1]}T{local[2]}", local[3] or zone)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; {_FORM}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} is no time; {_FORM}")
    return moment.astimezone(UTC)


def check_zone(zone: str) -> str:
    """Say what is wrong with a zone; '' for nothing."""
    try:
        PlainDateTime(2026, 1, 1).assume_tz(zone)
    except (TimeZoneNotFoundError, ValueError):
        return f"{zone!r} is no zone of the tz database, as Europe/Berlin is"
    return ""


def shown(moment: datetime, zone: str) -> str:
    """Write an instant by the clock of a zone."""
    local = moment.astimezone(ZoneInfo(zone))
    spec = "%Y-%m-%d %H:%M" if not (local.second or local.microsecond) else "%Y-%m-%d %H:%M:%S"
    return local.strftime(spec)


def _local(text: str, zone: str) -> datetime:
    why = check_zone(zone)
    if why:
        raise ValueError(why)
    try:
        plain = PlainDateTime.parse_iso(text if text.count(":") > 1 else f"{text}:00")
        return plain.assume_tz(zone, disambiguation="raise").to_instant().to_stdlib()
    except SkippedTime:
        raise ValueError(
            f"clocks in {zone} never show {text}; write the instant, with Z behind it"
        ) from None
    except RepeatedTime:
        raise ValueError(
            f"clocks in {zone} show {text} twice; write the instant, with Z behind it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}; {_FORM}") from None
