"""The one campaign: what triggers it and how its message reads. Pure."""

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from jinja2 import Environment

EVENT_TYPE = "order_placed"
VALUE_OVER = 100
ID = "thanks"

_NAMESPACE = uuid5(NAMESPACE_URL, "baseline/messages")

# The message the mesh's campaign renders, word for word: a greeting, a condition, a loop and a number.
BODY = Environment(autoescape=False).from_string(  # noqa: S701 — the body is JSON, not HTML.
    '{"to":{{ profile.id | tojson }},"order":{{ event.properties.order | tojson }},'
    '"text":"Hello {{ profile.attributes.first_name | default("friend") }},'
    "{% if event.properties.value > 500 %} what an order!{% endif %} thank you for"
    "{% for item in event.properties.lines %} {{ item }}{% endfor %}"
    ' at {{ "%.2f" | format(event.properties.value) }} {{ event.properties.currency }}."}'
)


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
    return BODY.render(event=event, profile=profile).encode()
