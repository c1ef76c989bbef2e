"""Where what is known of a person comes from, read all at once."""

from typing import NamedTuple

from mesh.postgres import Database
from services.profile.model import PersonKey
from services.profile.model.memberships import Membership
from services.profile.model.persons import Edge, Person
from services.profile.model.watches import CONDITION
from services.profile.store import persons
from services.profile.store.identities import list_edges

_MEMBERSHIPS = f"""
SELECT s.segment_id, m.member, m.transition, m.enter_us, m.exit_us, m.due_us
FROM segment_members AS m JOIN segments AS s ON s.segment_key = m.segment_key
WHERE m.workspace = $1 AND m.person_id = $2 AND m.member
    AND s.segment_id < '{CONDITION}' ORDER BY s.segment_id
"""  # noqa: S608 — put together from constants

EDGES_MAX = 100


class Explanation(NamedTuple):
    """A person with what was recorded under each id, and what made her one."""

    person: Person
    edges: list[Edge]
    memberships: list[tuple[str, Membership]]
    """Of the segments she is in, by id."""


class Explanations:
    """Explains people."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def explain(self, key: PersonKey) -> Explanation | None:
        """Return what there is of the person who has this id; None: there is nobody."""
        people = await persons.read(self._database, [key], contributions=True)
        if key not in people:
            return None
        person = people[key]
        async with self._database.connection() as db:
            edges = await list_edges(db, person, limit=EDGES_MAX)
            rows = await db.fetch(_MEMBERSHIPS, *person.key)
        return Explanation(person, edges, [(row[0], Membership(*row[1:])) for row in rows])
