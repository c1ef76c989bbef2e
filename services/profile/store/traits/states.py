"""What the events of each id come to for each trait: rows in, rows out."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.postgres import Connection
from services.profile.convert.traits import decode_state, encode_state
from services.profile.model.people import Event, PersonKey
from services.profile.model.traits import State, StateKey, Trait
from services.profile.store.identities import members
from services.profile.store.rows import columns

_READ = """
SELECT s.workspace, s.person_id, s.trait_id, s.member_id, s.state
FROM unnest($1::text[], $2::text[], $3::text[]) AS w (workspace, person_id, trait_id)
JOIN trait_states AS s USING (workspace, person_id, trait_id)
"""
_CREATE = """
INSERT INTO trait_states (workspace, person_id, trait_id, member_id, state)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT DO NOTHING
"""
_UPDATE = """
UPDATE trait_states AS s SET state = w.state
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
    AS w (workspace, person_id, trait_id, member_id, state)
WHERE s.workspace = w.workspace AND s.person_id = w.person_id AND s.trait_id = w.trait_id
    AND s.member_id = w.member_id
"""
_HISTORY = f"""
SELECT {", ".join(f"h.{name}" for name in Event._fields)}
FROM unnest($1::text[], $2::text[], $3::text[]) AS w (workspace, profile_id, type)
JOIN history AS h USING (workspace, profile_id, type)
"""  # noqa: S608 — put together from constants
_REASSIGN = """
UPDATE trait_states SET person_id = $3
WHERE workspace = $1 AND member_id = ANY($2::text[]) AND person_id <> $3
"""
_ERASE = """
WITH erased AS (
    DELETE FROM trait_states WHERE workspace = $1 AND person_id = ANY($2::text[])
    RETURNING trait_id
), unscheduled AS (
    DELETE FROM trait_dues WHERE workspace = $1 AND person_id = ANY($2::text[])
)
SELECT count(DISTINCT trait_id) FROM erased
"""
_HISTORY_ROWS = 500

Subject = tuple[PersonKey, Trait]
"""Whose states of which trait."""


class States:
    """States of some people for some traits, changed in memory until they are written."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: set[StateKey] = set()
        self._changed: dict[StateKey, State] = {}
        self._of: defaultdict[tuple[str, str, str], dict[str, State]] = defaultdict(dict)

    async def read(self, db: Connection, subjects: Collection[Subject]) -> None:
        """Read what is kept of these."""
        if not subjects:
            return
        traits = {(*person, trait.trait_id): trait for person, trait in subjects}
        for row in await db.fetch(_READ, *columns(list(traits), 3)):
            key = StateKey(row[0], row[1], row[2], row[3])
            self._kept.add(key)
            self._of[key[:3]][key.member_id] = decode_state(traits[key[:3]], row[4])

    def of(self, person: PersonKey, trait: Trait) -> Mapping[str, State]:
        """Return the states of a person for a trait, by id."""
        return self._of.get((*person, trait.trait_id), {})

    def put(self, person: PersonKey, trait: Trait, member_id: str, state: State) -> None:
        """Say what the state of one id is now."""
        key = StateKey(*person, trait.trait_id, member_id)
        self._of[key[:3]][member_id] = state
        self._changed[key] = state

    async def write(self, db: Connection) -> None:
        """Write what has changed.

        Raises:
            Aborted: Somebody else has written one of them meanwhile.
        """
        rows = [(*key, encode_state(self._changed[key])) for key in sorted(self._changed)]
        await _write(db, _CREATE, [row for row in rows if row[:4] not in self._kept])
        await _write(db, _UPDATE, [row for row in rows if row[:4] in self._kept])


async def read_history(
    db: Connection, wanted: Iterable[tuple[str, str, str]]
) -> AsyncIterator[Event]:
    """Yield the events in the history of these: workspace, id and type."""
    rows = sorted(set(wanted))
    if rows:
        # Not all at once: nobody knows how long the history of 500 people is.
        async for row in db.cursor(_HISTORY, *columns(rows, 3), prefetch=_HISTORY_ROWS):
            yield Event(*row)


async def reassign(
    db: Connection, workspace: str, member_ids: Sequence[str], person_id: str
) -> None:
    """Let what was recorded under these ids belong to this person.

    The values change with it: `refresh` everybody concerned afterwards.
    """
    await db.execute(_REASSIGN, workspace, list(member_ids), person_id)


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete what is kept of a person; return of how many traits.

    Under each id: one that gave its name up may still be due to be looked at.
    """
    ids = await members(db, (workspace, person_id))
    return {"traits": await db.fetchval(_ERASE, workspace, ids)}


async def _write(db: Connection, query: str, rows: Sequence[tuple[object, ...]]) -> None:
    if not rows:
        return
    status = await db.execute(query, *columns(rows, 5))
    if int(status.rpartition(" ")[2]) != len(rows):
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
