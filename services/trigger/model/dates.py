"""Dates of people's own, by which messages are planned."""

from dataclasses import dataclass
from datetime import time, timedelta


@dataclass(frozen=True, slots=True)
class DatePlan:
    """A time before or after a date that a profile holds."""

    attribute: str
    offset: timedelta
    """Negative: before it."""
    local_time: time | None = None
    """On that day by her clock; then `offset` is whole days of her calendar."""
