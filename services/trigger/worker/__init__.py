"""What trigger does unasked: reads the log, judges, fires timers, relays what is owed."""

from services.trigger.worker.worker import Worker

__all__ = ["Worker"]
