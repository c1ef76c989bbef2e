"""What events make of a person."""

from collections.abc import Sequence

from services.profile.model import (
    DAY_US,
    PROFILE_UPDATED,
    Event,
    Observation,
    Profile,
    Refused,
)
from services.profile.rules.attributes import Types
from services.profile.rules.facts import revise

# What occurred longer ago goes to the history and changes nothing: statistics that
# somebody has read must not move for ever.
LATE_US = 30 * DAY_US

# A sender that makes type names up must not let one profile grow without bound.
COUNTER_TYPES_MAX = 512


def observe(
    profile: Profile,
    events: Sequence[Event],
    *,
    wanted: frozenset[str] = frozenset(),
    types: Types | None = None,
) -> Observation:
    """Return what `events`, in this order, make of `profile`.

    Counts each type (up to 512 types), moves first and last seen, and lets
    `profile_updated` set facts: the one received last wins. An event that occurred
    more than 30 days before it was received is kept and changes nothing. One with
    a bad fact, one of another type than its attribute has too, is refused as a whole,
    counts for nothing and stays out of the history: it belongs into the quarantine,
    whence it can be replayed. The version grows by one, however many events there are,
    also when they only come late: whoever writes the same person at the same time must
    notice.
    """
    types = Types() if types is None else types
    counters = dict(profile.counters)
    facts, first, last = profile.facts, profile.first_seen_us, profile.last_seen_us
    kept: list[Event] = []
    stood: list[tuple[Event, Profile]] = []
    refused: list[tuple[Event, Refused]] = []
    version = profile.version + 1
    for event in events:
        occur_us, kind = event.occur_us, event.type
        if event.receive_us - occur_us <= LATE_US:
            if kind == PROFILE_UPDATED:
                revised = revise(facts, event.properties, at_us=event.receive_us, types=types)
                if isinstance(revised, Refused):
                    refused.append((event, revised))
                    continue
                facts = revised
            counter = counters.get(kind)
            if counter is not None:
                total, earliest, latest = counter
                counters[kind] = (total + 1, min(earliest, occur_us), max(latest, occur_us))
            elif len(counters) < COUNTER_TYPES_MAX:
                counters[kind] = (1, occur_us, occur_us)
            first = min(first, occur_us) if first else occur_us
            last = max(last, occur_us)
        kept.append(event)
        if kind in wanted:
            stood.append((event, Profile(version, facts, dict(counters), first, last)))
    if not kept:
        return Observation(profile, kept, stood, refused)
    return Observation(Profile(version, facts, counters, first, last), kept, stood, refused)
