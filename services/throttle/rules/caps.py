"""Whether there is room under the caps, and what to say where there is none."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from services.throttle.model import (
    Allow,
    Breach,
    Calendar,
    Defer,
    Filling,
    FrequencyCap,
    Gate,
    Limit,
    Micros,
    OnBreach,
    Place,
    Rolling,
    Suppress,
    Verdict,
)
from services.throttle.rules.windows import instant, span_us

# Each is counted for each send; a person can follow no more rules either.
CAPS_MAX = 20
# How much of what fills a cap a verdict names.
NEWEST_MAX = 3


def breached(limits: Iterable[Limit], places: Iterable[Place], now_us: Micros) -> list[Breach]:
    """Return the limits that are reached, counted from all of a person's places.

    Only what counts is counted: what was sent, and what is reserved and not
    lapsed. Of places of one instant the one with the larger id is the newer.
    """
    counting = [place for place in places if place.counts(now_us)]
    found = []
    for limit in limits:
        within = sorted(
            (place for place in counting if _within(limit, place)),
            key=lambda place: (place.time_us, place.send_id),
            reverse=True,
        )
        if len(within) >= limit.cap.limit:
            turn = within[limit.cap.limit - 1].time_us
            newest = tuple(
                Filling(place.send_id, place.time_us, place.committed)
                for place in within[:NEWEST_MAX]
            )
            found.append(Breach(limit, turn, newest))
    return found


def used(limit: Limit, places: Iterable[Place], now_us: Micros) -> list[bytes]:
    """Return the sends that a limit counted then, newest first, as far as places are kept."""
    within = [
        place
        for place in places
        if place.time_us <= now_us and place.counts(now_us) and _within(limit, place)
    ]
    within.sort(key=lambda place: (place.time_us, place.send_id), reverse=True)
    return [place.send_id for place in within]


def cap_verdict(breaches: Sequence[Breach]) -> Verdict:
    """Return what the breaches mean for the send.

    A cap that suppresses outranks those that defer: asking again would not
    help. Of those that defer the one that is full for longest speaks, so that at
    `until` there is room under all of them, by what is counted now.
    """
    if not breaches:
        return Allow()
    for breach in breaches:
        if breach.limit.cap.on_breach is OnBreach.SUPPRESS:
            return Suppress(Gate.FREQUENCY_CAP, _detail(breach))
    last = max(breaches, key=_room_at)
    return Defer(instant(_room_at(last)), Gate.FREQUENCY_CAP, _detail(last))


def _within(limit: Limit, place: Place) -> bool:
    return (
        place.channel in limit.cap.channels
        and place.time_us >= limit.start_us
        and (limit.end_us is None or place.time_us < limit.end_us)
    )


def _room_at(breach: Breach) -> Micros:
    match breach.limit.cap.window:
        case Rolling(span):
            return breach.turn_us + span_us(span)
        case Calendar():
            # A calendar window has an end.
            return breach.limit.end_us or 0


def _detail(breach: Breach) -> str:
    cap = breach.limit.cap
    filling = ", ".join(
        f"{UUID(bytes=place.send_id)} {'sent' if place.committed else 'reserved'}"
        f" {_written(place.time_us)}"
        for place in breach.newest
    )
    more = ", ..." if cap.limit > len(breach.newest) else ""
    return (
        f"workspaces/{cap.workspace}/frequencyCaps/{cap.cap_id} takes {cap.limit}"
        f" {_window_text(cap, breach.limit)}; filled by {filling}{more}"
    )


def _window_text(cap: FrequencyCap, limit: Limit) -> str:
    match cap.window:
        case Rolling(span):
            return f"in {_span_text(span)}"
        case Calendar():
            return f"a {cap.window.value}, this one since {_written(limit.start_us)}"


def _span_text(span: timedelta) -> str:
    seconds = span // timedelta(seconds=1)
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def _written(time_us: Micros) -> str:
    return instant(time_us).isoformat(timespec="seconds").replace("+00:00", "Z")
