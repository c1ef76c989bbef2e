"""What ingest writes: the event log, and its memory of recent ids."""

from services.ingest.store.appender import Appender
from services.ingest.store.recent_ids import RecentIds

__all__ = ["Appender", "RecentIds"]
