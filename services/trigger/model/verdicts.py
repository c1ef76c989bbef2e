"""What judging says, and what throttle says."""

from dataclasses import dataclass
from datetime import datetime

from services.trigger.model.passages import Enrollment, Gate, Refusal

# On a trigger event.


@dataclass(frozen=True, slots=True)
class Enter:
    """A passage begins."""

    enrollment: Enrollment


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing begins; the last gate says why."""

    refusal: Refusal


# On an exception event and a passage.


@dataclass(frozen=True, slots=True)
class Stop:
    """The message is not to go out."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Restart:
    """The delay begins anew, with this event for the trigger."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Leave:
    """The event does not concern the passage."""


# On a passage whose time has come.


@dataclass(frozen=True, slots=True)
class Release:
    """The message goes to throttle."""

    enrollment: Enrollment


@dataclass(frozen=True, slots=True)
class Hold:
    """The campaign is paused; waits until it is launched again."""


@dataclass(frozen=True, slots=True)
class WaitOn:
    """Not yet: the passage waits until a later time."""

    enrollment: Enrollment


@dataclass(frozen=True, slots=True)
class Exit:
    """The message is not to go out any more."""

    gates: tuple[Gate, ...]


# Of throttle.


@dataclass(frozen=True, slots=True)
class Allowed:
    """The send may go."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not before."""

    until: datetime
    gate: str
    detail: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Never."""

    gate: str
    detail: str


ThrottleVerdict = Allowed | Deferred | Suppressed
