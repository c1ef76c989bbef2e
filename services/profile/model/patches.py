"""Patches of many people in one call, and what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from uuid import UUID

from services.profile.model.people import PersonKey, Refused
from services.profile.model.persons import Person


@dataclass(frozen=True, slots=True)
class Done:
    """A patch that stands."""

    person: PersonKey
    """Under the name that stays."""
    created: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """A patch whose etag is not the current one."""


@dataclass(frozen=True, slots=True)
class Erased:
    """A patch of somebody who was erased and is refused for a while."""

    erasure_id: UUID


Outcome: TypeAlias = Done | Refused | Stale | Erased


class Patched(NamedTuple):
    """What patches make of people."""

    outcomes: Sequence[Outcome]
    """Of each patch, in their order."""
    changes: Mapping[PersonKey, tuple[Person | None, Person]]
    """Those who changed, as they were (None: not there) and as they are to be written."""
    people: Mapping[PersonKey, Person]
    """All who were named, as they are then, under the names that stay."""
