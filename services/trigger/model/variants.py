"""Who of a campaign gets which message, and what counts as success."""

from dataclasses import dataclass
from datetime import timedelta

from services.trigger.model.predicates import Predicate

DEFAULT = "default"
"""The arm of those who get the campaign's own message."""
HOLDOUT = "holdout"
"""The arm of those who get nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent."""

    channel: int
    """Number of a `beckon.type.v1.Channel`."""
    template: str


@dataclass(frozen=True, slots=True)
class Variant:
    """Another message for some."""

    id: str
    message: Message
    filter: Predicate | None = None
    """None: by its weight."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A share of the people."""

    variant: str
    weight: int
    """More than 0."""


@dataclass(frozen=True, slots=True)
class Variants:
    """How a campaign tells people apart."""

    variants: tuple[Variant, ...]
    arms: tuple[Arm, ...]
    """Those who share by weight whom no filter has taken; empty: all of them get the default."""
    salt: str
    split: str
    """Names the salt and the arms: others are another experiment."""

    def get(self, variant: str) -> Variant | None:
        """Return the variant of that id."""
        return next((one for one in self.variants if one.id == variant), None)


@dataclass(frozen=True, slots=True)
class Goal:
    """An event that counts as success."""

    id: str
    event_type: str
    filter: Predicate | None
    window: timedelta
    """After entry."""
    value_property: str = ""
    """Number to sum up; empty: only counted."""
