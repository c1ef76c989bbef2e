"""What changed of somebody that others want to hear of."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from services.profile.model.people import Facts
from services.profile.model.persons import Person, Renaming
from services.profile.model.watches import AttributeChange
from services.profile.rules.objects import split

# An event holds 32 KB in all: a value that is longer is told of without it.
_VALUE_MAX = 12_000


def attribute_changes(
    before: Facts, after: Facts, watched: Collection[str]
) -> list[AttributeChange]:
    """Return which of the watched attributes hold another value now.

    A value that is only written differently, as 1 and 1.0, is the same.
    """
    if before is after or before.attributes == after.attributes:
        return []
    old, new = split(before.attributes), split(after.attributes)
    return [
        AttributeChange(key, old.get(key), new.get(key))
        for key in sorted((old.keys() | new.keys()) & frozenset(watched))
        if old.get(key) != new.get(key) and not _equal(old.get(key), new.get(key))
    ]


def properties_of(change: AttributeChange) -> str:
    """Return what the event tells: a JSON object."""
    parts = [f'"attribute": {json.dumps(change.attribute)}']
    for name, value in (("from", change.before), ("to", change.after)):
        if value is not None and len(value.encode()) <= _VALUE_MAX:
            parts.append(f'"{name}": {value}')
    return "{" + ", ".join(parts) + "}"


def successions(renamings: Sequence[Renaming]) -> Iterator[tuple[Person | None, Person]]:
    """Yield everybody who was united or parted: as who she was taken for, and as she is now.

    Who is parted was the one that she is parted from.
    """
    for renaming in renamings:
        known = {person.key: person for person in renaming.before}
        of_member: Mapping[str, Person] = {
            member: person for person in renaming.before for member in person.ids
        }
        for after in renaming.after:
            yield known.get(after.key) or of_member.get(after.key[1]), after


def _equal(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    left, right = json.loads(one), json.loads(other)
    # True is 1 in Python, and nowhere else.
    return type(left) in (int, float) and type(right) in (int, float) and left == right
