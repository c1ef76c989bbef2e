"""How long the history is kept."""

from services.profile.model import WEEK_US


def oldest_week(now_us: int, *, weeks: int) -> int:
    """Return the first week, counted from the epoch, of which history is kept.

    Whole weeks before the running one; what was received earlier is neither kept nor taken.
    """
    return now_us // WEEK_US - weeks
