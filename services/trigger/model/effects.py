"""What a turn wants written."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.trigger.model.digests import DigestEffects
from services.trigger.model.events import Occurrence
from services.trigger.model.history import Assignment, Conversion
from services.trigger.model.passages import Enrollment, Refusal
from services.trigger.model.regions import Presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An event, or a whole record, that could not be observed or judged."""

    id: UUID
    workspace: str
    profile: str = ""
    event_id: str = ""
    type: str = ""
    error: bytes
    """A serialized `google.rpc.Status`."""
    payload: bytes
    """A serialized `LogRecord` of that event alone, or the whole record as it came."""
    observed: bool
    """Whether profile has it; judging is all that is left to do then."""
    partition: int
    create_time: datetime = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Telling:
    """An event that is to be told to all who are related to its profile: a broadcast."""

    campaign: str
    event: Occurrence


@dataclass(frozen=True, slots=True)
class Effects:
    """What a turn wants written, all or nothing."""

    enrollments: tuple[Enrollment, ...] = ()
    """New and changed ones, as they are to stand."""
    refusals: tuple[Refusal, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    replayed: tuple[UUID, ...] = ()
    """Quarantined events that are done with."""
    tellings: tuple[Telling, ...] = ()
    presences: tuple[Presence, ...] = ()
    """Where people are who reported where they are."""
    assignments: tuple[Assignment, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    digests: DigestEffects = field(default_factory=DigestEffects)
    """What was gathered and taken out again."""
