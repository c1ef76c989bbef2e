"""Real PostgreSQL and Redis, started by ourselves, as root or not, on any folder.

Each survives its own kill -9 on the same folder and port, and dies with whoever started it.
"""

from stack.servers.postgresql import Postgres, postgres
from stack.servers.valkey import Redis, redis

__all__ = ["Postgres", "Redis", "postgres", "redis"]
