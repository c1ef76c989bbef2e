"""What holds for all campaigns of a workspace."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for all campaigns of a workspace; of one that has set nothing, the defaults."""

    time_zone: str = ""
    """Of people whose own is unknown. Empty: UTC."""
    holdout_percent: float = 0.0
    """Share of the people who get nothing of any campaign, to a hundredth."""
    holdout_salt: str = ""
    """Changes who they are."""


DEFAULTS = Settings()
"""Of a workspace that has set nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSettings:
    """Settings as they are kept."""

    workspace: str
    settings: Settings = DEFAULTS
    revision: int = 0
    """0: nothing was ever set."""
    update_time: datetime | None = None
