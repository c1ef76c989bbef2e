"""What others want to hear of people, and the events that tell them."""

from collections.abc import Iterable, Mapping
from uuid import UUID, uuid5

from mesh.postgres import Connection
from services.profile.model.changes import DerivedEvent
from services.profile.model.people import NOBODY
from services.profile.model.persons import Person
from services.profile.model.watches import ATTRIBUTE_CHANGED, AttributeChange
from services.profile.rules.watching import attribute_changes, properties_of
from services.profile.store.derived_events import owe

Watched = Mapping[str, frozenset[str]]
"""Attributes by workspace."""

_LOAD = "SELECT workspace, attributes FROM watches WHERE attributes <> '{}'"
_NAMESPACE = UUID("b5c3bb0e-63f5-5c3a-8a66-0f6f3f5dd1c7")


async def load_watches(db: Connection) -> Watched:
    """Return which attributes are watched in which workspaces."""
    return {row[0]: frozenset(row[1]) for row in await db.fetch(_LOAD)}


async def tell(
    db: Connection,
    changes: Iterable[tuple[Person | None, Person]],
    watched: Watched,
    now_us: int,
) -> None:
    """Owe, in the transaction of these changes, the events that tell of what is watched."""
    if not watched:
        return
    await owe(
        db,
        [
            _event(after, change, now_us)
            for before, after in changes
            if after.key[0] in watched
            for change in attribute_changes(
                (before.profile if before is not None else NOBODY).facts,
                after.profile.facts,
                watched[after.key[0]],
            )
        ],
    )


def _event(person: Person, change: AttributeChange, now_us: int) -> DerivedEvent:
    workspace, profile_id = person.key
    place = f"{workspace}/{profile_id}/{change.attribute}/{person.profile.version}/{now_us}"
    return DerivedEvent(
        workspace=workspace,
        profile_id=profile_id,
        event_id=f"attribute-{uuid5(_NAMESPACE, place)}",
        type=ATTRIBUTE_CHANGED,
        occur_us=now_us,
        properties=properties_of(change),
    )
