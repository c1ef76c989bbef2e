"""What a transaction changed, told to those who must look again, and what it owes to the log."""

from typing import NamedTuple

from services.profile.model.people import PersonKey


class Touched(NamedTuple):
    """What changed of one person: says which segments to look at again."""

    key: PersonKey
    """Under the name that stays, of united ids."""
    event_types: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    """Keys; `email`, `phone`, `time_zone` and `locale` among them."""
    traits: frozenset[str] = frozenset()
    relations: frozenset[str] = frozenset()
    """Kinds."""
    devices: bool = False
    anything: bool = False
    """The person is new, or was united or parted: all may have changed."""


class DerivedEvent(NamedTuple):
    """An event that profile itself writes, through ingest, into the log."""

    workspace: str
    profile_id: str
    event_id: str
    """Derived, so that a repeat is recognised."""
    type: str
    occur_us: int
    properties: str
    """A JSON object."""
