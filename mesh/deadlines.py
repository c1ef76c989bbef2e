"""How much time the running call has left, for the calls it makes itself."""

from contextvars import ContextVar
from datetime import timedelta
from time import monotonic

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import DeadlineExceeded

# Our answer must arrive before the caller gives up.
KEPT_BACK = timedelta(milliseconds=20)
# On the wire gRPC rounds a timeout up, to two or three digits.
_ROUNDING = 0.01
# With less than this nothing of use can be done: refuse before beginning.
LEAST = timedelta(milliseconds=100)

_until: ContextVar[float | None] = ContextVar("beckon_until", default=None)


def remaining() -> float | None:
    """Return the seconds left for work inside the running call; None when unlimited."""
    until = _until.get()
    return None if until is None else until - monotonic()


def limit(seconds: float) -> None:
    """Give the rest of this call's context so many seconds, less what is kept back."""
    _until.set(monotonic() + seconds - max(KEPT_BACK.total_seconds(), seconds * _ROUNDING))


def too_short(seconds: float) -> DeadlineExceeded:
    """Return the error that says too little time is left."""
    left = max(0, round(seconds * 1000))
    needed = round(LEAST.total_seconds() * 1000)
    return DeadlineExceeded(
        ErrorReason.ERROR_REASON_DEADLINE_TOO_SHORT,
        f"{left} ms left, at least {needed} ms needed",
        metadata={"remainingMs": str(left), "neededMs": str(needed)},
    )
