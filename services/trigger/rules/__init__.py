"""What should happen: pure judging of events, passages and partitions."""

from services.trigger.rules.books import Book, make_book
from services.trigger.rules.exceptions import judge_exception, orphaned
from services.trigger.rules.ledger import Ledger, judge_event
from services.trigger.rules.release import (
    after_cancel,
    after_throttle,
    asks_for_events,
    judge_owed,
    judge_release,
    set_back,
    stopped_meanwhile,
)
from services.trigger.rules.sharing import Share, share
from services.trigger.rules.triggers import judge_trigger, recipient_of
from services.trigger.rules.uniting import United, unite

__all__ = [
    "Book",
    "Ledger",
    "Share",
    "United",
    "after_cancel",
    "after_throttle",
    "asks_for_events",
    "judge_event",
    "judge_exception",
    "judge_owed",
    "judge_release",
    "judge_trigger",
    "make_book",
    "orphaned",
    "recipient_of",
    "set_back",
    "share",
    "stopped_meanwhile",
    "unite",
]
