"""What trigger speaks of: events, people, campaigns, enrollments and their gates."""

from services.trigger.model.effects import Effects, Quarantined
from services.trigger.model.events import Occurrence, Person, Trace
from services.trigger.model.identities import Erasure, Identity, IdentityChange, Notice, NoticeKind
from services.trigger.model.passages import Enrollment, EnrollmentState, Gate, Refusal
from services.trigger.model.plans import (
    CampaignState,
    ExceptionRule,
    Key,
    Match,
    Plan,
    Predicate,
    RecipientKind,
    Seen,
)
from services.trigger.model.rows import DecisionRow, QuarantineRow, StoredCampaign
from services.trigger.model.verdicts import (
    Allowed,
    Deferred,
    Enter,
    Exit,
    Hold,
    Leave,
    Refuse,
    Release,
    Restart,
    Stop,
    Suppressed,
    ThrottleVerdict,
)

__all__ = [
    "Allowed",
    "CampaignState",
    "DecisionRow",
    "Deferred",
    "Effects",
    "Enrollment",
    "EnrollmentState",
    "Enter",
    "Erasure",
    "ExceptionRule",
    "Exit",
    "Gate",
    "Hold",
    "Identity",
    "IdentityChange",
    "Key",
    "Leave",
    "Match",
    "Notice",
    "NoticeKind",
    "Occurrence",
    "Person",
    "Plan",
    "Predicate",
    "QuarantineRow",
    "Quarantined",
    "RecipientKind",
    "Refusal",
    "Refuse",
    "Release",
    "Restart",
    "Seen",
    "Stop",
    "StoredCampaign",
    "Suppressed",
    "ThrottleVerdict",
    "Trace",
]
