"""What the baseline's processes are told, read once from the environment."""

import os
from dataclasses import dataclass

from bench.campaign import CAP_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the baseline's servers are, and its one campaign."""

    database_url: str
    """PostgreSQL: events, profiles, counters, messages."""
    redis_url: str
    """Redis: Celery's broker, consent and frequency caps."""
    webhook_url: str
    """Where messages are posted."""
    database_pool: int = 4
    """Connections an API process holds: beyond four, requests on two cores only wait for each other in PostgreSQL."""
    cap_limit: int = CAP_PER_DAY
    """Messages a person may get within the window."""
    cap_window_ms: int = 86_400_000
    """The window of the cap: one day."""


def load() -> Settings:
    """Read the settings; a missing one is a KeyError that names it."""
    return Settings(
        database_url=os.environ["BASELINE_DATABASE_URL"],
        redis_url=os.environ["BASELINE_REDIS_URL"],
        webhook_url=os.environ["BASELINE_WEBHOOK_URL"],
    )
