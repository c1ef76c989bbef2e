"""Who is to begin outside the log, and what came of it."""

from dataclasses import dataclass

from services.trigger.model.events import Occurrence, Person
from services.trigger.model.passages import Gate


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody for whom a campaign is to begin, by the event that it begins with."""

    event: Occurrence
    person: Person
    """How she stands now."""
    named: str = ""
    """The id that was used for her; empty: that under which she goes."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came of a candidate."""

    profile: str
    """Under which id her passage is, or would be."""
    entered: bool
    gates: tuple[Gate, ...]
    """That were asked; the last one refused unless she entered."""
    again: bool
    """Whether it had come of the same event before."""
