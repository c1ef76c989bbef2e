"""What should happen: pure judging of events, passages and partitions."""

from services.trigger.rules.asking import ask_of_entry, ask_of_goals, looks_back
from services.trigger.rules.books import Book, exception_types, make_book
from services.trigger.rules.digests import (
    Group,
    Regrouped,
    ask_of_gathering,
    ask_of_undo,
    groups_of,
    is_open,
    regroup,
    summary_of,
)
from services.trigger.rules.exceptions import judge_exception, orphaned
from services.trigger.rules.experiments import judge_goal, lift_evidence, ratio_alarm
from services.trigger.rules.goals import judge_goals, latest
from services.trigger.rules.ledger import Ledger, begin, judge_event
from services.trigger.rules.pacing import asks_for_slot, at_slot, interval_of
from services.trigger.rules.recipients import Recipient, named_by, recipients_of
from services.trigger.rules.reentry import reentry_key_of
from services.trigger.rules.regions import (
    LOCATION_REPORTED,
    Walk,
    left_unnoticed,
    regions_named_by,
    walk,
)
from services.trigger.rules.release import (
    after_cancel,
    after_throttle,
    asks_for_events,
    judge_owed,
    judge_release,
    set_back,
    stopped_meanwhile,
)
from services.trigger.rules.schedules import is_over, next_planned
from services.trigger.rules.sharing import Share, share
from services.trigger.rules.triggers import judge_trigger
from services.trigger.rules.uniting import United, unite
from services.trigger.rules.variants import (
    assign,
    drawn,
    make_variants,
    message_of,
    workspace_holdout,
)
from services.trigger.rules.versions import after_change, plan_for, sent_out, version_after
from services.trigger.rules.zones import known_zone, zone_of

__all__ = [
    "LOCATION_REPORTED",
    "Book",
    "Group",
    "Ledger",
    "Recipient",
    "Regrouped",
    "Share",
    "United",
    "Walk",
    "after_cancel",
    "after_change",
    "after_throttle",
    "ask_of_entry",
    "ask_of_gathering",
    "ask_of_goals",
    "ask_of_undo",
    "asks_for_events",
    "asks_for_slot",
    "assign",
    "at_slot",
    "begin",
    "drawn",
    "exception_types",
    "groups_of",
    "interval_of",
    "is_open",
    "is_over",
    "judge_event",
    "judge_exception",
    "judge_goal",
    "judge_goals",
    "judge_owed",
    "judge_release",
    "judge_trigger",
    "known_zone",
    "latest",
    "left_unnoticed",
    "lift_evidence",
    "looks_back",
    "make_book",
    "make_variants",
    "message_of",
    "named_by",
    "next_planned",
    "orphaned",
    "plan_for",
    "ratio_alarm",
    "recipients_of",
    "reentry_key_of",
    "regions_named_by",
    "regroup",
    "sent_out",
    "set_back",
    "share",
    "stopped_meanwhile",
    "summary_of",
    "unite",
    "version_after",
    "walk",
    "workspace_holdout",
    "zone_of",
]
