"""Providers in memory: they take messages, refuse them, or do not answer for a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from services.trigger.model import Enrollment


class Answer(Enum):
    """What a channel's provider does with a message."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    """For good: the message has failed."""
    AWAY = "away"
    """Does not answer: the message is tried again until it expires."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that delivery has and no provider yet."""

    delivery: UUID
    passage: Enrollment
    channel: str
    digest: Mapping[str, Any] | None = None
    """What its template sees of what was gathered."""


class Post:
    """What delivery holds, and how its providers are."""

    def __init__(self) -> None:
        """Begin with providers that accept everything."""
        self._answers: dict[str, Answer] = {}
        self._held: dict[UUID, Letter] = {}

    def set(self, channel: str, answer: Answer) -> None:
        """Change what a channel's provider does."""
        self._answers[channel] = answer

    def answer(self, channel: str) -> Answer:
        """Return what a channel's provider does."""
        return self._answers.get(channel, Answer.ACCEPT)

    def hold(self, letter: Letter) -> None:
        """Keep a message that its provider did not take."""
        self._held[letter.delivery] = letter

    def take(self, channel: str) -> list[Letter]:
        """Return what is held for a channel, in its order, and hold it no more."""
        found = [one for one in self._held.values() if one.channel == channel]
        for one in found:
            del self._held[one.delivery]
        return found

    def cancel(self, delivery: UUID) -> bool:
        """Let go of a message; say whether no provider has it."""
        return self._held.pop(delivery, None) is not None

    def next_expiry(self) -> Letter | None:
        """Return the held message that expires first."""
        return min(self._held.values(), key=lambda one: one.passage.expire_time, default=None)
