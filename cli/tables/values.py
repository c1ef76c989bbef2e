"""Turns what stands in a cell into a value of the type that its attribute has."""

import json
import math
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}

# Where no library would say so: seconds since 1970 have ten digits for some centuries yet.
_SECONDS_MAX = 1e11
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
