"""What the caps of a workspace mean for one send, now."""

from collections.abc import Iterable

from services.throttle.model import (
    Calendar,
    Channel,
    FrequencyCap,
    Limit,
    Micros,
    Rolling,
    Window,
)
from services.throttle.rules.windows import ZONE_LENGTH_MAX, calendar_window, span_us

# Zones come from outside; there are about six hundred.
_WINDOWS_MAX = 4096


class Limits:
    """Works limits out, and remembers calendar windows for as long as they last.

    Remembering changes no answer: a window is taken only while it holds `now`.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._windows: dict[tuple[Calendar, str], tuple[Micros, Micros]] = {}

    def of(
        self,
        caps: Iterable[FrequencyCap],
        channel: Channel,
        time_zone: str,
        *,
        critical: bool,
        now_us: Micros,
    ) -> tuple[Limit, ...]:
        """Return the limits a send must keep, in the order of the caps.

        All caps that count its channel apply at once. A critical send keeps none,
        but takes its place under each.
        """
        if critical:
            return ()
        return tuple(self._limit(cap, time_zone, now_us) for cap in caps if channel in cap.channels)

    def _limit(self, cap: FrequencyCap, time_zone: str, now_us: Micros) -> Limit:
        start, end = self._bounds(cap.window, time_zone, now_us)
        return Limit(cap=cap, start_us=start, end_us=end)

    def _bounds(
        self, window: Window, time_zone: str, now_us: Micros
    ) -> tuple[Micros, Micros | None]:
        match window:
            case Rolling(span):
                # What was reserved exactly one span ago has left.
                return now_us - span_us(span) + 1, None
            case Calendar():
                return self._calendar(window, time_zone, now_us)

    def _calendar(self, window: Calendar, time_zone: str, now_us: Micros) -> tuple[Micros, Micros]:
        if len(time_zone) > ZONE_LENGTH_MAX:
            # Unknown, and nothing to keep in memory.
            time_zone = ""
        known = self._windows.get((window, time_zone))
        if known is not None and known[0] <= now_us < known[1]:
            return known
        if len(self._windows) >= _WINDOWS_MAX:
            self._windows.clear()
        found = self._windows[window, time_zone] = calendar_window(window, time_zone, now_us)
        return found
