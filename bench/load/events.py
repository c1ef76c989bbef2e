"""The events of a load, serialised once and stamped per batch.

Every batch is a copy of one of a few serialised batches in which only the batch's number is replaced: making 500 new events
costs the generator about 50 microseconds, so that it hardly takes part in what is measured.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

WORKSPACE = "bench"

# Eight characters that an event id may hold and nothing else in an event does.
_PLACE = b"@@@@@@@@"

# How a message's body shows which event it came from, whatever surrounds it.
ORDER = re.compile(rb"b([0-9a-f]{6})-([0-9]{8})-([0-9]{4})")

_OTHER_TYPES = ("page_viewed", "product_viewed", "product_viewed", "cart_updated")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the events of a load are like."""

    run: str
    """Six hexadecimal characters, different for every load, so that no event id comes twice."""
    batch_size: int = 500
    trigger_share: float = 0.1
    """Share of the events that lead to a message; every fifth of the others is an order the filter refuses."""
    profiles: int = 10_000
    seed: int = 7
    templates: int = 16
    """Different batches before they repeat under another number."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One event of a template, to be serialised for either side."""

    id: str
    type: str
    profile: str
    time: datetime
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Template:
    content: bytes
    messages: int


class Batches:
    """Gives the serialised batch of any number, and how many messages it should lead to."""

    def __init__(self, shape: Shape, serialize: Callable[[list[Planned]], bytes]) -> None:
        """Serialise the templates; this is the only costly part."""
        self.shape = shape
        self._time = datetime.now(UTC)
        draw = random.Random(shape.seed)
        self._templates = [self._template(draw, serialize) for _ in range(shape.templates)]

    def batch(self, number: int) -> bytes:
        """Return the batch of that number."""
        template = self._templates[number % len(self._templates)]
        return template.content.replace(_PLACE, b"%08d" % number)

    def messages(self, number: int) -> int:
        """Return how many messages the batch of that number leads to."""
        return self._templates[number % len(self._templates)].messages

    def _template(
        self, draw: random.Random, serialize: Callable[[list[Planned]], bytes]
    ) -> _Template:
        shape = self.shape
        # An exact number of triggers in every batch: the expected messages are then known without drawing again.
        triggers = set(
            draw.sample(range(shape.batch_size), round(shape.batch_size * shape.trigger_share))
        )
        events = [
            self._event(draw, place, triggers=place in triggers)
            for place in range(shape.batch_size)
        ]
        return _Template(serialize(events), len(triggers))

    def _event(self, draw: random.Random, place: int, *, triggers: bool) -> Planned:
        name = f"b{self.shape.run}-{_PLACE.decode()}-{place:04d}"
        order = triggers or draw.random() < 0.2
        value = round(draw.uniform(101, 900) if triggers else draw.uniform(1, 99), 2)
        return Planned(
            id=name,
            type="order_placed" if order else draw.choice(_OTHER_TYPES),
            time=self._time,
            profile=f"p{draw.randrange(self.shape.profiles):07d}",
            properties={
                "order": name,
                "value": value,
                "currency": "EUR",
                "lines": [f"sku-{draw.randrange(1000):04d}" for _ in range(3)],
                "page": f"/shop/{draw.randrange(1000)}",
            },
        )


def as_json(events: list[Planned]) -> bytes:
    """Serialise a batch for the baseline."""
    return msgspec.json.encode(
        {
            "events": [
                {
                    "id": e.id,
                    "type": e.type,
                    "profile": e.profile,
                    "time": e.time,
                    "properties": e.properties,
                }
                for e in events
            ]
        }
    )
