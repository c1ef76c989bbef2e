"""What should happen: pure judging of events, passages and partitions."""

from services.trigger.rules.exceptions import judge_exception
from services.trigger.rules.ledger import Book, Ledger, judge_event
from services.trigger.rules.release import (
    after_cancel,
    after_throttle,
    judge_owed,
    judge_release,
    set_back,
)
from services.trigger.rules.sharing import Share, share
from services.trigger.rules.triggers import judge_trigger, recipient_of

__all__ = [
    "Book",
    "Ledger",
    "Share",
    "after_cancel",
    "after_throttle",
    "judge_event",
    "judge_exception",
    "judge_owed",
    "judge_release",
    "judge_trigger",
    "recipient_of",
    "set_back",
    "share",
]
