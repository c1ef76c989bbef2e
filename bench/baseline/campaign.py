"""The one campaign: what triggers it and how its message reads. Pure."""

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from jinja2 import Environment

from bench.campaign import BODY, EVENT_TYPE, ID, VALUE_OVER

_NAMESPACE = uuid5(NAMESPACE_URL, "baseline/messages")

# The body is JSON, whose values `tojson` escapes.
_BODY = Environment(autoescape=False).from_string(BODY)  # noqa: S701


def triggers(event_type: str, properties: Mapping[str, Any]) -> bool:
    """Say whether the event leads to a message: an order worth more than the campaign asks for."""
    if event_type != EVENT_TYPE:
        return False
    value = properties.get("value")
    return isinstance(value, int | float) and value > VALUE_OVER


def message_id(event_id: str) -> UUID:
    """Derive the message's id, so that the same event can never owe two messages."""
    return uuid5(_NAMESPACE, f"{ID}/{event_id}")


def render(event: Mapping[str, Any], profile: Mapping[str, Any]) -> bytes:
    """Render the body of the webhook."""
    return _BODY.render(event=event, profile=profile).encode()
