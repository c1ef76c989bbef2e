"""How sends take, keep and give back places: what the counters' scripts do, in words of Python."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from services.throttle.model import (
    ROLLING_MAX,
    Breach,
    Limit,
    Micros,
    Outcome,
    Place,
    Send,
)
from services.throttle.rules.caps import breached
from services.throttle.rules.windows import span_us

# A send may be with its provider when it expires; an hour later the answer is in.
LEASE_BEYOND = timedelta(hours=1)
# Beyond the longest window by more than clocks differ.
KEPT = ROLLING_MAX + timedelta(hours=1)

_LEASE_BEYOND_US = span_us(LEASE_BEYOND)
_KEPT_US = span_us(KEPT)


def place_for(send: Send, now_us: Micros) -> Place:
    """Return the place a send would take now.

    A lease ends an hour after the send expires; that of a send which expired
    already ends an hour from now, as it may be on its way. Beyond what counters
    remember a lease means nothing, so it ends there.
    """
    lease = min(max(send.expire_us, now_us) + _LEASE_BEYOND_US, now_us + _KEPT_US)
    return Place(send.send_id, send.channel, now_us, lease)


def reserve(
    places: Mapping[bytes, Place], wanted: Place, limits: Sequence[Limit], now_us: Micros
) -> tuple[list[Breach], dict[bytes, Place]]:
    """Return the limits in the way of one send, and the person's places afterwards.

    A send whose place still counts meets no limit: it gets the same answer again.
    One that was released, or whose lease ended, is judged anew. What no window
    can reach any more is forgotten.
    """
    kept = {key: place for key, place in places.items() if place.time_us > now_us - _KEPT_US}
    held = kept.get(wanted.send_id)
    if held is not None and held.counts(now_us):
        return [], kept
    found = breached(limits, kept.values(), now_us)
    if not found:
        kept[wanted.send_id] = wanted
    return found, kept


def settle(
    places: Mapping[bytes, Place], ended: Iterable[tuple[bytes, Outcome]]
) -> dict[bytes, Place]:
    """Return the person's places after these sends ended.

    The first settlement holds. A commit counts also after its lease: it was sent.
    """
    left = dict(places)
    for send_id, outcome in ended:
        place = left.get(send_id)
        if place is None or place.committed:
            continue
        match outcome:
            case Outcome.COMMITTED:
                left[send_id] = place._replace(committed=True)
            case Outcome.RELEASED:
                del left[send_id]
    return left
