"""What profile remembers: PostgreSQL, one schema."""

from services.profile.store.database import MIGRATIONS, SCHEMA, connect
from services.profile.store.observations import Observations, Turn
from services.profile.store.profiles import NEWEST, HistoryKey, Profiles

__all__ = [
    "MIGRATIONS",
    "NEWEST",
    "SCHEMA",
    "HistoryKey",
    "Observations",
    "Profiles",
    "Turn",
    "connect",
]
