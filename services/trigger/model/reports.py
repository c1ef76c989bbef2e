"""How the variants of a campaign do."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GoalCounts:
    """How often an arm has reached a goal."""

    profiles: int = 0
    passages: int = 0
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What became of the passages of an arm."""

    entries: int = 0
    profiles: int = 0
    sent: int = 0
    waiting: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)
    """By the gate that stopped them."""
    goals: Mapping[str, GoalCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """The people whom a hash has given an arm, under one split."""

    split: str
    """Of `Variants.split`."""
    variant: str
    profiles: int
    converted: Mapping[str, int]
    """Goal → how many of them have reached it."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """All that a report is made of, of one moment."""

    arms: Mapping[str, ArmCounts]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Winner:
    """Which arm does best for a goal."""

    goal: str
    variant: str
    """Empty: none yet."""
    detail: str
