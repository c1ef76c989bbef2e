"""What is kept, as it is listed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.trigger.model.passages import Gate
from services.trigger.model.versions import Past


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCampaign:
    """A campaign as it is kept."""

    workspace: str
    campaign: str
    state: str
    spec: bytes
    """A serialized Campaign; what the other fields say is not in it."""
    version: int
    revision: int
    create_time: datetime
    update_time: datetime
    launch_time: datetime | None = None
    migrate_version: int = 1
    """The latest version to which all went over who were on their way."""
    exit_version: int = 0
    """The latest version that sent them out; 0: none did."""

    @property
    def past(self) -> Past:
        """What it was, but for the plans."""
        return Past(self.migrate_version, self.exit_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """A quarantined event as it is kept."""

    id: UUID
    workspace: str
    profile: str
    event_id: str
    type: str
    error: bytes
    payload: bytes
    observed: bool
    partition: int
    create_time: datetime
    replay_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision: what was decided for a profile, a campaign and a trigger event."""

    profile: str
    member: str
    """The id that it was begun under, when the person goes by another."""
    campaign: str
    event_uid: UUID
    event_id: str
    state: int | None
    """None: refused."""
    gates: tuple[Gate, ...]
    decide_time: datetime
    due_time: datetime | None
    wake_time: datetime | None
    campaign_version: int
    channel: int
    trace_id: bytes
    variant: str = ""
    item_count: int = 0
    """Events that a digest has gathered and not lost again."""
