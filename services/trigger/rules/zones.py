"""By whose clock is it reckoned?"""

from functools import lru_cache

from whenever import Instant, TimeZoneNotFoundError

from services.trigger.model import Person, Settings

UTC = "UTC"
# No zone of the tz database has a longer name; it may come from outside unchecked.
_LENGTH_MAX = 64
_ANY_INSTANT = Instant.from_utc(1970, 1, 1)


@lru_cache(maxsize=4096)
def known_zone(name: str) -> bool:
    """Say whether the tz database has a zone of this name."""
    if not name or len(name) > _LENGTH_MAX:
        return False
    try:
        _ANY_INSTANT.to_tz(name)
    except (TimeZoneNotFoundError, ValueError):
        return False
    return True


def zone_of(person: Person | None, settings: Settings) -> str:
    """Return the zone of a person: her own, else the workspace's, else UTC.

    One that nobody knows counts as none: it may come from anywhere.
    """
    own = person.time_zone if person is not None else ""
    for name in (own, settings.time_zone):
        if known_zone(name):
            return name
    return UTC
