"""A batch of events as columns, and what the door says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Why an event is refused."""

    FIELD_INVALID = "field_invalid"
    TOO_LARGE = "too_large"
    ID_REUSED = "id_reused"
    TYPE_RESERVED = "type_reserved"


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of an event, and what would be right."""

    field: str
    rule: str
    description: str
    fault: Fault = Fault.FIELD_INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The fields of a batch, each as a list over its events.

    Judging a column is several times cheaper than judging event by event.
    """

    event_ids: Sequence[str]
    types: Sequence[str]
    profiles: Sequence[str]
    """Full resource names."""
    seconds: Sequence[int]
    """Occurrence in seconds since the epoch; 0 where the caller gave none."""
    nanos: Sequence[int]
    properties: Sequence[bytes]
    """JSON; empty where the caller gave none."""
    traced: Sequence[bool] | None
    """Whether the caller gave a traceparent; None where no event has one."""
    tokens: Mapping[int, str]
    """Consistency tokens by index; hardly any event has one."""
    property_faults: Mapping[int, Violation]
    """What reading the properties as JSON found, by index."""

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.event_ids)


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of a batch: every index is in exactly one of the three."""

    fresh: Sequence[int]
    """To be appended."""
    duplicates: Sequence[int]
    """Known with the same content: accepted, without effect."""
    refused: Mapping[int, Sequence[Violation]]
