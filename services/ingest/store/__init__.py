"""What ingest writes: the event log, and the memory of recent ids."""

from services.ingest.store.appender import Appender
from services.ingest.store.recent_ids import NoRecentIds, RecentIds, RedisRecentIds

__all__ = ["Appender", "NoRecentIds", "RecentIds", "RedisRecentIds"]
