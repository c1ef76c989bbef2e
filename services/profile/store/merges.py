"""Merges as callers ask for them: made, taken back, listed."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar
from uuid import UUID, uuid4

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted, FailedPrecondition, NotFound
from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.profile.convert.identities import told_parted
from services.profile.convert.moments import micros
from services.profile.model import PersonKey
from services.profile.model.persons import (
    MEMBERS_MAX,
    Edge,
    EdgeOrigin,
    EdgeState,
    Person,
    Renaming,
    Union,
)
from services.profile.rules.identity import part, roots, unite, uniting_edge
from services.profile.store import erasures, identities, persons, unity
from services.profile.store.definitions import Definitions, Edition
from services.profile.store.derived_events import owe
from services.profile.store.identities import LATEST

# Each time somebody else got through, who had united the same people: as many as that, at the
# same instant, there are not.
_ATTEMPTS_MAX = 50

_T = TypeVar("_T")


class Merges:
    """Unites people and parts them."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        """Take the pool, and what every change must know."""
        self._database = database
        self._definitions = definitions

    async def merge(self, into: PersonKey, from_id: str, reason: str, now: datetime) -> Edge:
        """Unite two people; return the edge that does, or did.

        Raises:
            FailedPrecondition: They would have too many ids, or one of them was erased.
        """
        other = (into[0], from_id)

        async def work(db: Connection, edition: Edition) -> Edge:
            people = await persons.load(db, [into, other], lock=True)
            kept, gone = people.get(into) or Person(into), people.get(other) or Person(other)
            if kept.key == gone.key:
                return _found(
                    uniting_edge(await identities.live_edges(db, kept.key), into[1], from_id)
                )
            edge = _edge(into, from_id, reason, now)
            await unity.change(db, [_union(edge, kept, gone)], edition, now)
            created = [key for key in (into, other) if key not in people]
            if created:
                await erasures.check_not_erased(db, created, now)
            return edge

        return await self._run(work)

    async def unmerge(self, workspace: str, merge_id: UUID, now: datetime) -> Edge:
        """Take an edge back; return it as it is then.

        Raises:
            NotFound: There is no such edge.
            FailedPrecondition: It was refused and unites nobody.
        """
        key = (workspace, merge_id)

        async def work(db: Connection, edition: Edition) -> Edge:
            edge = await _live(db, key)
            if edge.state is EdgeState.UNDONE:
                return edge
            people = await persons.load(db, [(workspace, edge.into_id)], lock=True)
            if not people:
                # Erased since the edge was read, and the edge with them.
                raise _faster()
            (person,) = people.values()
            live = await identities.live_edges(db, person.key)
            left = [one for one in live if one.merge_id != merge_id]
            if len(left) == len(live):
                # Somebody else has taken it back since it was read.
                raise _faster()
            after = part(person, roots(left, person.member_ids))
            await identities.undo(db, edge, now)
            await unity.change(db, [Renaming([person], after, [])], edition, now)
            await owe(db, told_parted(edge, after, micros(now)))
            return edge._replace(state=EdgeState.UNDONE, undo_time=now)

        return await self._run(work)

    async def list_before(
        self, key: PersonKey, sequence: int = LATEST, *, limit: int
    ) -> list[Edge]:
        """Return the edges of a person before a sequence, newest first."""
        people = await persons.read(self._database, [key])
        async with self._database.connection() as db:
            person = people.get(key) or Person(key)
            return await identities.list_edges(db, person, before=sequence, limit=limit)

    async def _run(self, work: Callable[[Connection, Edition], Awaitable[_T]]) -> _T:
        for _ in range(_ATTEMPTS_MAX):
            try:
                async with self._database.transaction() as db:
                    return await work(db, await self._definitions.current(db))
            except Aborted:
                continue
        raise _faster()


def _edge(into: PersonKey, from_id: str, reason: str, now: datetime) -> Edge:
    return Edge(into[0], uuid4(), from_id, into[1], EdgeState.LIVE, EdgeOrigin.CALL, reason, now)


def _union(edge: Edge, kept: Person, gone: Person) -> Renaming:
    if len(kept.ids) + len(gone.ids) > MEMBERS_MAX:
        name = format_name(edge.workspace, "profiles", edge.into_id)
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_TOO_MANY_IDS,
            f"the profile would have more than {MEMBERS_MAX} ids",
            metadata={"resourceName": name, "limit": str(MEMBERS_MAX)},
        )
    united = unite(kept, gone)
    return Renaming([kept, gone], [united], [Union(edge, united, gone.ids)])


async def _live(db: Connection, key: tuple[str, UUID]) -> Edge:
    edge = (await identities.find_edges(db, [key])).get(key)
    name = format_name(key[0], "merges", str(key[1]))
    if edge is None:
        raise NotFound(
            ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
            f"no such merge: {name}",
            metadata={"resourceName": name},
        )
    if edge.state is EdgeState.REFUSED:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{name} was refused and unites nobody",
            metadata={"resourceName": name, "state": "REFUSED", "allowedStates": "LIVE,UNDONE"},
        )
    return edge


def _found(edge: Edge | None) -> Edge:
    if edge is None:
        # The edges were read after the person, and say otherwise.
        raise _faster()
    return edge


def _faster() -> Aborted:
    return Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
