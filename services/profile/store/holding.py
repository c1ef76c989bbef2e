"""Holding people still, so that nobody unites, parts or erases them meanwhile."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.profile.model import PersonKey
from services.profile.store.rows import columns

_ROOTS = """
SELECT w.workspace, w.profile_id, p.workspace IS NOT NULL,
    COALESCE(NULLIF(p.merged_into, ''), w.profile_id)
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
LEFT JOIN profiles AS p USING (workspace, profile_id)
"""
_MEMBERS = """
SELECT p.workspace, p.profile_id, p.member_ids, p.merged_into
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""
_LOCK = "ORDER BY p.workspace, p.profile_id FOR NO KEY UPDATE OF p"
_CREATE = """
INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time)
VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING
"""

# Two that unite people and part them again cannot be faster than we many times in a row.
_ATTEMPTS_MAX = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whom an id belongs to."""

    key: PersonKey
    """Under the name that stays."""
    member_ids: frozenset[str]
    """All ids, this one among them."""
    is_known: bool
    """Whether there is a row, which could be held."""


async def find(
    db: Connection, people: Collection[PersonKey], *, hold: bool = False
) -> dict[PersonKey, Belonging]:
    """Return whom each id belongs to; an unknown one to itself.

    With `hold` the rows of those who are known are locked, in one order, and what is
    returned stays true to the end of the transaction.

    Raises:
        Aborted: They were united or parted in the meantime. Begin anew: who holds some
            already must not go for others.
    """
    for _ in range(1 if hold else _ATTEMPTS_MAX):
        found = await _find(db, people, lock=_LOCK if hold else "")
        if found is not None:
            return found
    raise faster()


async def attempted(database: Database, work: Callable[[Connection], Awaitable[_T]]) -> _T:
    """Return what `work` returns, done in one transaction, and anew when others were faster.

    Raises:
        Aborted: They were, again and again.
    """
    for _ in range(_ATTEMPTS_MAX - 1):
        try:
            async with database.transaction() as db:
                return await work(db)
        except Aborted:
            continue
    async with database.transaction() as db:
        return await work(db)


def faster() -> Aborted:
    """Return the error that sends a transaction back to its beginning."""
    return Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")


async def create_missing(db: Connection, key: PersonKey, now: datetime) -> bool:
    """Let a profile come into being where it is missing; return whether it was."""
    status = await db.execute(_CREATE, *key, shard_of(*key), now)
    return status == "INSERT 0 1"


async def _find(
    db: Connection, people: Collection[PersonKey], *, lock: str
) -> dict[PersonKey, Belonging] | None:
    rows = await db.fetch(_ROOTS, *columns(sorted(set(people)), 2)) if people else []
    roots = {(row[0], row[1]): (row[0], row[3]) for row in rows}
    known = {(row[0], row[3]) for row in rows if row[2]}
    members = await _members(db, known, lock=lock) if known else {}
    found: dict[PersonKey, Belonging] = {}
    for key, root in roots.items():
        if root not in known:
            found[key] = Belonging(key, frozenset({key[1]}), is_known=False)
        elif key[1] not in members.get(root, ()):
            # United, parted or erased between the two looks.
            return None
        else:
            found[key] = Belonging(root, members[root], is_known=True)
    return found


async def _members(
    db: Connection, roots: Collection[PersonKey], *, lock: str
) -> Mapping[PersonKey, frozenset[str]]:
    rows = await db.fetch(_MEMBERS + lock, *columns(sorted(roots), 2))
    return {(row[0], row[1]): frozenset(row[2] or [row[1]]) for row in rows if row[3] == ""}
