"""What patches make of people: each stands or falls alone, those of one person in order."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from services.profile.model import PersonKey, Refused
from services.profile.model.patches import Done, Erased, Outcome, Patched, Stale
from services.profile.model.persons import Person
from services.profile.rules.attributes import Types
from services.profile.rules.facts import patch
from services.profile.rules.identity import rewrite
from services.profile.rules.operations import Operations


class Patch(NamedTuple):
    """What to do to one person, under one of her ids."""

    key: PersonKey
    operations: Operations | Refused
    etag: str = ""
    """'': whatever is there."""


def apply_patches(
    patches: Sequence[Patch],
    people: Mapping[PersonKey, Person],
    *,
    erased: Mapping[PersonKey, UUID],
    types: Types,
    at_us: int,
) -> Patched:
    """Return what the patches make of these people, by any of their ids; who is missing is made.

    The version of each grows by one, however many patches change the person.
    """
    current = {person.key: person for person in people.values()}
    before = dict(current)
    outcomes: list[Outcome] = []
    for one in patches:
        name = people[one.key].key if one.key in people else one.key
        known = current.get(name)
        made = _apply(one, known, erased.get(name), types, at_us)
        if isinstance(made, Person):
            if made is not known:
                current[name] = _next(made, before.get(name))
            outcomes.append(Done(name, created=known is None, changed=made is not known))
        else:
            outcomes.append(made)
    changes = {
        name: (before.get(name), person)
        for name, person in current.items()
        if person is not before.get(name)
    }
    return Patched(outcomes, changes, current)


def etag_of(person: Person) -> str:
    """Return what changes with every change of the person."""
    return str(person.profile.version)


def _apply(
    one: Patch, known: Person | None, erasure_id: UUID | None, types: Types, at_us: int
) -> Person | Refused | Stale | Erased:
    if isinstance(one.operations, Refused):
        return one.operations
    if known is None and erasure_id is not None:
        return Erased(erasure_id)
    if one.etag and (known is None or one.etag != etag_of(known)):
        return Stale()
    person = known or Person(one.key)
    facts = patch(person.profile.facts, one.operations, at_us=at_us, types=types)
    if isinstance(facts, Refused):
        return facts
    said = {*one.operations.write, *one.operations.unset}
    return rewrite(person, one.key[1], facts, said=said, at_us=at_us)


def _next(person: Person, before: Person | None) -> Person:
    version = before.profile.version + 1 if before is not None else 1
    return person._replace(profile=person.profile._replace(version=version))
