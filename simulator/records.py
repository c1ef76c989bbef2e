"""What came of it: messages, what was kept back, and goals that were reached."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.trigger.model import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a provider accepted."""

    time: datetime
    profile: str
    """The id its person goes by."""
    campaign: str
    channel: str
    template: str
    variant: str = ""
    event: str
    """Id of the event that began it."""
    delivery: str
    critical: bool = False
    digest: Mapping[str, Any] | None = None
    """What its template sees of what was gathered."""
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message that did not come to be, or not to its end."""

    time: datetime
    profile: str
    campaign: str
    event: str
    gates: tuple[Gate, ...]
    entered: bool = field(default=False)
    """Whether a passage began."""

    @property
    def gate(self) -> Gate:
        """The gate that did it."""
        return next((one for one in reversed(self.gates) if not one.passed), self.gates[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal that a passage reached."""

    time: datetime
    profile: str
    campaign: str
    variant: str
    event: str
    """Id of the event that began the passage."""
    goal: str
    value: float
