"""Who keeps something of a person besides profiles and history."""

from services.profile.store import devices, identities, relations, segments, traits
from services.profile.store.erasing import Area

AREAS: tuple[Area, ...] = (
    identities.erase,
    traits.erase,
    devices.erase,
    relations.erase,
    segments.erase,
)
"""In the order in which they are erased."""
