"""Going through people by the thousand, in steps that each look anew.

By the ids that people go by, in their order: who is united or parted on the way may be met under
a name that the walk has passed or has yet to come to.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

import asyncpg
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import FailedPrecondition, NotFound
from mesh.names import format_name
from mesh.postgres import Database
from services.profile.model import PersonKey
from services.profile.model.memberships import SegmentState
from services.profile.model.persons import Person
from services.profile.model.relations import Walk
from services.profile.model.segments import Binding, Filter
from services.profile.store import persons, traits
from services.profile.store.definitions import Definitions
from services.profile.store.related import RelatedPeople

# An answer holds at most so many people.
STEP_MAX = 500
# Of whom it is asked at once whether a filter holds, which is cheaper than telling of them.
_ASKED_MAX = 5000

_SEGMENT = "SELECT segment_key, state FROM segments WHERE workspace = $1 AND segment_id = $2"
_MEMBERS = """
SELECT person_id FROM segment_members
WHERE workspace = $1 AND segment_key = $2 AND person_id > $3 AND member
ORDER BY person_id LIMIT $4
"""


class Place(NamedTuple):
    """How far a walk has come: the id, behind the kind of relation where there is one."""

    kind: str = ""
    id: str = ""


class Found(NamedTuple):
    """One of an audience."""

    person: Person
    traits: str
    """A JSON object."""
    relation: str
    """Attributes of the relation, a JSON object; '' of no relation."""


class Step(NamedTuple):
    """Some of an audience; none where the walk has come by others only."""

    found: list[Found]
    place: Place


class Audiences:
    """Finds who is in an audience, and how they stand; holds no connection between two steps."""

    def __init__(
        self, database: Database, definitions: Definitions, related: RelatedPeople
    ) -> None:
        """Take the pool, what is defined, and who follows edges."""
        self._database = database
        self._definitions = definitions
        self._related = related

    async def members(
        self, workspace: str, segment_id: str, place: Place, *, now_us: int
    ) -> AsyncIterator[Step]:
        """Go through the members of a segment.

        Raises:
            NotFound: There is no such segment.
            FailedPrecondition: It is being built.
        """
        while True:
            async with self._database.connection() as db:
                # As it is now: with another filter it has others for members.
                row = await db.fetchrow(_SEGMENT, workspace, segment_id)
                segment_key = _ready(workspace, segment_id, row)
                rows = await db.fetch(_MEMBERS, workspace, segment_key, place.id, STEP_MAX)
            ids = [one[0] for one in rows]
            if ids:
                place = Place(id=ids[-1])
                yield Step(await self._known(workspace, ids, now_us), place)
            if len(ids) < STEP_MAX:
                return

    async def everyone(
        self, workspace: str, wanted: Filter | None, place: Place, *, now_us: int
    ) -> AsyncIterator[Step]:
        """Go through the people of a workspace, or those of whom a filter holds."""
        asked_max = STEP_MAX if wanted is None else _ASKED_MAX
        binding = Binding(now_us, first=4)
        condition = "true" if wanted is None else wanted.add_to(binding)
        query = f"""
SELECT p.profile_id, p.merged_into = '' AND ({condition}) IS TRUE FROM (
    SELECT * FROM profiles WHERE workspace = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3
) AS p ORDER BY p.profile_id
"""  # noqa: S608 — put together from constants, and from a filter that was compiled
        while True:
            async with self._database.connection() as db:
                rows = await db.fetch(query, workspace, place.id, asked_max, *binding.parameters)
            passing = [row[0] for row in rows if row[1]]
            for at in range(0, len(passing), STEP_MAX):
                some = passing[at : at + STEP_MAX]
                place = Place(id=some[-1])
                yield Step(await self._known(workspace, some, now_us), place)
            if len(rows) < asked_max:
                return
            place = Place(id=rows[-1][0])

    async def related(
        self, key: PersonKey, walk: Walk, wanted: Filter | None, place: Place, *, now_us: int
    ) -> AsyncIterator[Step]:
        """Go through those who are related to one person."""
        steps = self._related.follow(key, walk, wanted, now_us=now_us, place=place, chunk=STEP_MAX)
        async for step in steps:
            if not step.found:
                yield Step([], Place(*step.place))
                continue
            relations = {(key[0], one.profile_id): one.attributes for one in step.found}
            known = await persons.read(self._database, relations.keys())
            # Also who is known by relations only.
            people = [(known.get(one) or Person(one), said) for one, said in relations.items()]
            yield Step(await self._stand(people, now_us), Place(*step.place))

    async def _known(self, workspace: str, ids: Sequence[str], now_us: int) -> list[Found]:
        """Return how those stand whom there still is: others were erased since they were found."""
        keys = [(workspace, one) for one in ids]
        known = await persons.read(self._database, keys)
        return await self._stand([(known[one], "") for one in keys if one in known], now_us)

    async def _stand(self, found: Iterable[tuple[Person, str]], now_us: int) -> list[Found]:
        """Return how people stand, each once, with the attributes of their relations."""
        people: dict[PersonKey, tuple[Person, str]] = {}
        for person, relation in found:
            people.setdefault(person.key, (person, relation))
        zones = {key: one.profile.facts.time_zone for key, (one, _) in people.items()}
        async with self._database.connection() as db:
            edition = await self._definitions.current(db)
            values = await traits.values(db, edition, zones, now_us)
        return [
            Found(person, values.get(key, person.profile.traits), relation)
            for key, (person, relation) in people.items()
        ]


def _ready(workspace: str, segment_id: str, row: asyncpg.Record | None) -> int:
    """Return the key of a segment whose members are complete."""
    name = format_name(workspace, "segments", segment_id)
    if row is None:
        raise NotFound(
            ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
            f"no such segment: {name}",
            metadata={"resourceName": name},
        )
    if row["state"] != SegmentState.ACTIVE:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{name} is being built",
            metadata={"resourceName": name, "state": "BUILDING", "allowedStates": "ACTIVE"},
        )
    key: int = row["segment_key"]
    return key
