"""Times between their three forms: datetime, microseconds, Timestamp."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """Return the moment so many microseconds after the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_timestamp(stamp: Timestamp) -> datetime:
    """Return the moment, to the microsecond."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def to_timestamp(moment: datetime) -> Timestamp:
    """Return the moment as it is on the wire."""
    microseconds = (moment - _EPOCH) // _MICROSECOND
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def to_us(moment: datetime) -> int:
    """Return the moment as microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def from_duration(duration: Duration) -> timedelta:
    """Return the span, to the microsecond."""
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
