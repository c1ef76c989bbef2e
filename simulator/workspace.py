"""What holds for everything that is played."""

from dataclasses import dataclass, field

from services.trigger.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace and its settings."""

    name: str = "main"
    settings: Settings = field(default_factory=Settings)


__all__ = ["Settings", "Workspace"]
