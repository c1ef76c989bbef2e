"""What should happen: pure judging of events, passages and partitions."""

from services.trigger.rules.books import Book, make_book
from services.trigger.rules.exceptions import judge_exception, orphaned
from services.trigger.rules.ledger import Ledger, begin, judge_event
from services.trigger.rules.recipients import Recipient, named_by, recipients_of
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
from services.trigger.rules.triggers import judge_trigger
from services.trigger.rules.uniting import United, unite
from services.trigger.rules.zones import known_zone, zone_of

__all__ = [
    "Book",
    "Ledger",
    "Recipient",
    "Share",
    "United",
    "after_cancel",
    "after_throttle",
    "asks_for_events",
    "begin",
    "judge_event",
    "judge_exception",
    "judge_owed",
    "judge_release",
    "judge_trigger",
    "known_zone",
    "make_book",
    "named_by",
    "orphaned",
    "recipients_of",
    "set_back",
    "share",
    "stopped_meanwhile",
    "unite",
    "zone_of",
]
