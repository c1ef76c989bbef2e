"""Walks through all profiles of a workspace: to fill a trait from the history, or to remove it.

A step is one transaction, in which the walk moves on too: whoever dies in one leaves no
trace of it, and the next goes on from there.
"""

from collections.abc import Sequence
from datetime import datetime

from mesh.clock import Clock
from mesh.postgres import Connection, Database
from services.profile.convert.candidates import Candidate
from services.profile.convert.moments import micros
from services.profile.convert.traits import previous_id
from services.profile.model.changes import Touched
from services.profile.model.people import PersonKey
from services.profile.model.traits import Trait, TraitState
from services.profile.rules.traits import prune
from services.profile.store.definitions import Definitions, Edition, announce
from services.profile.store.holding import find
from services.profile.store.horizon import settled
from services.profile.store.rows import columns
from services.profile.store.traits.advancing import revalue
from services.profile.store.traits.counting import count_one
from services.profile.store.traits.definitions import TRAIT_COLUMNS, trait_of
from services.profile.store.traits.settling import settle, tell
from services.profile.store.traits.states import States, read_history

# Holding the row keeps other workers off the walk.
_NEXT = f"""
SELECT {TRAIT_COLUMNS}, seen_time, walked_to FROM traits WHERE state <> 2
ORDER BY seen_time IS NULL DESC, create_time, workspace, trait_id LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 — put together from constants
_SEEN = """
UPDATE traits SET seen_time = clock_timestamp(),
    walk_count = (SELECT count(*) FROM profiles AS p WHERE p.workspace = $1)
WHERE workspace = $1 AND trait_id = $2
"""
_IDS = """
SELECT profile_id FROM profiles WHERE workspace = $1 AND profile_id > $2
ORDER BY profile_id LIMIT $3
"""
_WALKED = """
UPDATE traits SET walked_to = $3, walked_count = walked_count + $4
WHERE workspace = $1 AND trait_id = $2
"""
_FILLED = "UPDATE traits SET state = 2 WHERE workspace = $1 AND trait_id = $2"
_REMOVED = "DELETE FROM traits WHERE workspace = $1 AND trait_id = $2"
_ZONES = """
SELECT p.workspace, p.profile_id, p.time_zone
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""
_DROP_STATES = """
DELETE FROM trait_states WHERE workspace = $1 AND person_id = ANY($2::text[]) AND trait_id = $3
"""
_DROP_VALUES = """
UPDATE profiles SET traits = traits - $3::text[], version = version + 1, update_time = $4
WHERE workspace = $1 AND profile_id = ANY($2::text[]) AND traits ?| $3::text[]
RETURNING profile_id
"""


class TraitWalks:
    """Takes walks further, step by step."""

    def __init__(self, database: Database, definitions: Definitions, clock: Clock) -> None:
        """Take the pool, the definitions and the clock."""
        self._database = database
        self._definitions = definitions
        self._clock = clock

    async def step(self, *, limit: int) -> bool:
        """Take one walk further, by `limit` ids at most; return whether one could be."""
        now = self._clock.now()
        async with self._database.transaction() as db:
            edition = await self._definitions.current(db)
            row = await db.fetchrow(_NEXT)
            if row is None:
                return False
            trait = trait_of(row)
            if row["seen_time"] is None:
                await db.execute(_SEEN, trait.workspace, trait.trait_id)
                return True
            if not await settled(db, row["seen_time"]):
                return False
            ids = [one[0] for one in await db.fetch(_IDS, trait.workspace, row["walked_to"], limit)]
            people = [(trait.workspace, one) for one in ids]
            filling = row["state"] == TraitState.BACKFILLING
            if people:
                work = _fill if filling else _remove
                await work(db, edition, trait, people, now)
                await db.execute(_WALKED, trait.workspace, trait.trait_id, ids[-1], len(ids))
            if len(ids) < limit:
                await db.execute(_FILLED if filling else _REMOVED, trait.workspace, trait.trait_id)
                await announce(db, "traits")
        return True


async def _fill(
    db: Connection, edition: Edition, trait: Trait, people: Sequence[PersonKey], now: datetime
) -> None:
    """Reckon from the history those ids that have no state yet.

    Those that have one had it reckoned so by a turn, and are complete.
    """
    now_us = micros(now)
    belonging = await find(db, people, hold=True)
    persons = sorted({one.key for one in belonging.values()})
    rows = await db.fetch(_ZONES, *columns(persons, 2))
    zones = {(row[0], row[1]): row[2] for row in rows}
    states = States()
    await states.read(db, [(person, trait) for person in persons])
    lacking = {
        key: one.key
        for key, one in belonging.items()
        # Erased between the two looks: there is nothing to reckon from.
        if one.is_known and key[1] not in states.of(one.key, trait)
    }
    filled = set()
    async for event in read_history(db, ((*key, trait.event_type) for key in lacking)):
        person = lacking[event.person]
        if count_one(states, person, trait, Candidate(event), zones[person]):
            filled.add((person, event.profile_id))
    for person, member_id in filled:
        prune(trait, states.of(person, trait)[member_id], now_us)
    changed = sorted({person for person, _ in filled})
    advanced = await revalue(db, states, [(person, trait) for person in changed], zones, now_us)
    await settle(db, edition, advanced, now, now_us)


async def _remove(
    db: Connection, edition: Edition, trait: Trait, people: Sequence[PersonKey], now: datetime
) -> None:
    belonging = await find(db, people, hold=True)
    persons = sorted({one.key[1] for one in belonging.values()})
    keys = [trait.trait_id, *([previous_id(trait.trait_id)] if trait.compare else [])]
    await db.execute(_DROP_STATES, trait.workspace, persons, trait.trait_id)
    rows = await db.fetch(_DROP_VALUES, trait.workspace, persons, keys, now)
    touched = (Touched((trait.workspace, row[0]), traits=frozenset(keys)) for row in rows)
    await tell(db, edition, touched, micros(now))
