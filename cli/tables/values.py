"""Turns what stands in a cell into a value of the type that its attribute has."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}

# Where no library would say so: seconds since 1970 have ten digits for some centuries yet.
_SECONDS_MAX = 1e11
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Messages nest a hundred deep, and a list or an object within a Struct takes three of that.
LEVELS_MAX = 30
TOO_DEEP = f"is nested deeper than {LEVELS_MAX} levels"


class Type(StrEnum):
    """What an attribute holds."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    LIST = "list"
    OBJECT = "object"


def convert(value: Any, wanted: Type) -> Any:
    """Return a cell's value as one of a type.

    Raises:
        ValueError: It is none; the text says what one looks like.
    """
    match wanted:
        case Type.STRING:
            return text_of(value)
        case Type.NUMBER:
            return _number(value)
        case Type.BOOLEAN:
            return _boolean(value)
        case Type.TIMESTAMP:
            return _timestamp(value)
        case Type.LIST:
            return _list(value)
        case Type.OBJECT:
            return _object(value)


def text_of(value: Any) -> str:
    """Return a value as text; a whole number without a fraction, as an id of digits is meant.

    Raises:
        ValueError: It is a list or an object.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            raise ValueError("is a list or an object, not a text")


def _number(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError(f"{value!r} is neither true nor false")


def _timestamp(value: Any) -> str:
    try:
        moment = _moment(value)
    except (ValueError, OverflowError):
        form = "expected 2026-01-31T09:00:00Z, 2026-01-31 or seconds since 1970"
        raise ValueError(f"{value!r} is no time; {form}") from None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(value: Any) -> datetime:
    if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        moment = datetime.fromisoformat(value.strip())
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = _number(value)
    return _EPOCH + timedelta(seconds=seconds if abs(seconds) < _SECONDS_MAX else seconds / 1000)


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return [value]
    if value.lstrip().startswith("["):
        found = _json(value)
        if isinstance(found, list):
            return found
    return [part.strip() for part in value.split("|") if part.strip()]


def _object(value: Any) -> dict[str, Any]:
    found = _json(value) if isinstance(value, str) else value
    if isinstance(found, dict):
        return found
    raise ValueError("is no JSON object")


def too_deep(values: Iterable[Any]) -> bool:
    """Say whether lists and objects stand in each other deeper than a message can say."""
    level = [one for one in values if isinstance(one, list | dict)]
    for _ in range(LEVELS_MAX):
        if not level:
            return False
        within = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for items in within for one in items if isinstance(one, list | dict)]
    return bool(level)


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if too_deep([found]):
        raise ValueError(TOO_DEEP)
    return found
