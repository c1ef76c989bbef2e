"""The event log: what ingest appends and trigger reads, in order per partition."""

from mesh.eventlog.opening import open_log
from mesh.eventlog.port import START, EventLog, Position, Record

__all__ = ["START", "EventLog", "Position", "Record", "open_log"]
