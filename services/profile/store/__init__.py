"""What profile remembers: PostgreSQL, one schema."""

from services.profile.store.database import MIGRATIONS, SCHEMA, connect
from services.profile.store.observations import Observations, Turn

__all__ = ["MIGRATIONS", "SCHEMA", "Observations", "Turn", "connect"]
