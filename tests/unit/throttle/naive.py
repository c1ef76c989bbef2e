"""A reference that recounts everything from the full history, in other words than the rules."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from services.throttle.model import (
    PERSONAL,
    Calendar,
    Channel,
    FrequencyCap,
    OnBreach,
    Place,
    Rolling,
)

MINUTE = timedelta(minutes=1)


@dataclass
class History:
    """Every place anybody ever took, with what became of it; nothing is forgotten."""

    places: dict[bytes, Place] = field(default_factory=dict)

    def counted(self, cap: FrequencyCap, now: datetime, zone: str, at: datetime) -> int:
        """Count by walking all places: those that fill `cap` at the instant `at`, known as of `now`."""
        return sum(
            1
            for place in self.places.values()
            if (place.committed or as_time(place.lease_us) > now)
            and (place.channel in PERSONAL if cap.channel is None else place.channel is cap.channel)
            and same_window(cap, as_time(place.time_us), at, zone)
        )

    def answer(self, caps: list[FrequencyCap], channel: Channel, zone: str, now: datetime) -> str:
        """Return allow, suppress or defer."""
        full = [
            cap
            for cap in caps
            if (channel in PERSONAL if cap.channel is None else channel is cap.channel)
            and self.counted(cap, now, zone, now) >= cap.limit
        ]
        if not full:
            return "allow"
        if any(cap.on_breach is OnBreach.SUPPRESS for cap in full):
            return "suppress"
        return "defer"

    def has_room(
        self, caps: list[FrequencyCap], channel: Channel, zone: str, now: datetime, at: datetime
    ) -> bool:
        """Say whether at `at` every deferring cap has room, by what is counted `now`."""
        return all(
            self.counted(cap, now, zone, at) < cap.limit
            for cap in caps
            if cap.on_breach is OnBreach.DEFER
            and (channel in PERSONAL if cap.channel is None else channel is cap.channel)
        )


def same_window(cap: FrequencyCap, time: datetime, now: datetime, zone: str) -> bool:
    """Say whether what happened at `time` fills the window of `now`."""
    match cap.window:
        case Rolling(span):
            return time > now - span
        case Calendar():
            return number_of(cap.window, time, zone) == number_of(cap.window, now, zone)


def number_of(window: Calendar, time: datetime, zone: str) -> int:
    """Number the days (or weeks) of a zone: how many have begun by `time`.

    A day has begun once its date, or a later one, was on the clock at any instant
    so far: found by looking at the clock every minute of the last two hours,
    which covers every change of clocks there was.
    """
    tz = ZoneInfo(zone)
    floor = time.replace(second=0, microsecond=0)
    seen = [time.astimezone(tz).date()]
    seen += [(floor - n * MINUTE).astimezone(tz).date() for n in range(121)]
    # Also the very instants of the minute before: clocks change on whole minutes in our zones.
    latest: date = max(seen)
    day = latest.toordinal()
    # Ordinal 1, January 1st of year 1, is a Monday.
    return day if window is Calendar.DAY else (day - 1) // 7


def as_time(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
