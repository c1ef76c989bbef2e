"""Forgetting a person: everything in one transaction, with the word to the other services."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID, uuid4, uuid5

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import metrics
from mesh.errors import Aborted
from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.profile.convert.moments import micros
from services.profile.model import DerivedEvent, PersonKey
from services.profile.model.erasures import PROFILE_ERASED, Erasure, Removal, hash_of
from services.profile.store.definitions import announce
from services.profile.store.derived_events import owe
from services.profile.store.erasures import LAST_WRITES, read_receipt, write_removal

Area: TypeAlias = Callable[[Connection, str, str], Awaitable[Mapping[str, int]]]
"""Deletes all that one area keeps of a person (workspace, id); returns how many, by kind."""

# Whoever writes a person finishes in the meantime; more lost races mean that somebody holds on.
_ATTEMPTS_MAX = 4
# A history of a million events takes some seconds; the call has 30.
_SECONDS_MAX = 25.0

_ROOT = "SELECT merged_into FROM profiles WHERE workspace = $1 AND profile_id = $2"
_HOLD = """
SELECT merged_into, member_ids FROM profiles WHERE workspace = $1 AND profile_id = $2 FOR UPDATE
"""
_STAND_IN = """
INSERT INTO profiles (workspace, profile_id, shard, create_time, update_time)
VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING
"""
# Standings that were answered hold attributes, also those of ids that were one with these when
# they were answered. A record whose answer is gone is known by the events of the others. Nothing
# that is older than the oldest answer needs to be looked for.
_ANSWERS = """
WITH RECURSIVE oldest (us) AS (SELECT min(receive_us) FROM answers), kin (id) AS (
    SELECT unnest($2::text[]) COLLATE "C"
    UNION
    SELECT m.id FROM kin CROSS JOIN LATERAL (
        SELECT into_id, state, undo_time FROM merges WHERE workspace = $1 AND from_id = kin.id
        UNION ALL
        SELECT from_id, state, undo_time FROM merges WHERE workspace = $1 AND into_id = kin.id
    ) AS m (id, state, undo_time)
    WHERE m.state = 1 OR m.undo_time >= to_timestamp((SELECT us FROM oldest) / 1e6)
)
DELETE FROM answers WHERE (receive_us, log_partition, log_position) IN (
    SELECT DISTINCT h.receive_us, h.log_partition, h.log_position
    FROM kin JOIN history AS h ON h.workspace = $1 AND h.profile_id = kin.id
        AND h.receive_us >= (SELECT us FROM oldest))
"""
_HISTORY = "DELETE FROM history WHERE workspace = $1 AND profile_id = ANY($2::text[])"
_COUNT_HISTORY = """
SELECT count(*) FROM history WHERE workspace = $1 AND profile_id = ANY($2::text[])
"""
_PENDING = "DELETE FROM derived_events WHERE workspace = $1 AND profile_id = ANY($2::text[])"
_CONTRIBUTIONS = "DELETE FROM contributions WHERE workspace = $1 AND person_id = $2"
_PROFILES = "DELETE FROM profiles WHERE workspace = $1 AND profile_id = ANY($2::text[])"
_REFUSED_BY = """
SELECT erasure_id FROM tombstones
WHERE workspace = $1 AND person_hash = $2 AND refuse_until > $3
"""
_REFUSE = """
INSERT INTO tombstones (workspace, person_hash, erasure_id, refuse_until)
SELECT $1, person_hash, $3, $4 FROM unnest($2::bytea[]) AS w (person_hash)
ON CONFLICT (workspace, person_hash)
    DO UPDATE SET erasure_id = excluded.erasure_id, refuse_until = excluded.refuse_until
"""
_RECEIPT = """
INSERT INTO erasures (workspace, erasure_id, create_time, refuse_until, reason)
VALUES ($1, $2, $3, $4, $5)
"""


class Order(NamedTuple):
    """What to forget, and on what terms."""

    person: PersonKey
    """Under any of their ids."""
    reason: str
    now: datetime
    refuse_until: datetime


class _Held(NamedTuple):
    """All ids of a person, their rows held until the end."""

    root: str
    ids: Sequence[str]
    known: bool


class Eraser:
    """Forgets people, each in one transaction."""

    def __init__(self, database: Database, areas: Sequence[Area]) -> None:
        """Take the pool and who keeps something of people besides profiles and history."""
        self._database = database
        self._areas = areas

    async def erase(self, order: Order) -> Erasure:
        """Forget a person for good; return the receipt, of one forgotten already the same.

        Afterwards nothing of any of their ids is kept here but hashes, and nobody who was
        writing them meanwhile has brought them back.

        Raises:
            Aborted: Others wrote the person again and again.
        """
        for attempt in range(_ATTEMPTS_MAX):
            try:
                async with self._database.transaction() as db:
                    return await self._erase(db, order)
            except Aborted:
                metrics.WORKER_FAILURES.labels(worker="erase").inc()
                if attempt == _ATTEMPTS_MAX - 1:
                    raise
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "other writers were faster")

    async def count(self, order: Order) -> Erasure:
        """Return what the receipt of an erasure would say; change nothing."""
        async with self._database.connection() as db:
            trial = db.transaction()
            await trial.start()
            try:
                return await self._count(db, order)
            finally:
                await trial.rollback()

    async def _count(self, db: Connection, order: Order) -> Erasure:
        held = await _hold(db, order)
        known = await _known_receipt(db, order, held)
        if known is not None:
            return known
        # The history is only counted: deleting it to put it back would rewrite its pages.
        history = int(await db.fetchval(_COUNT_HISTORY, order.person[0], held.ids))
        counts = {"history": history, **await self._forget(db, order, held)}
        removal = Removal("profile", counts, order.now)
        return _receipt(order, None)._replace(removals=(removal,))

    async def _erase(self, db: Connection, order: Order) -> Erasure:
        workspace = order.person[0]
        await db.execute(f"SET LOCAL statement_timeout = '{_SECONDS_MAX:.0f}s'")
        held = await _hold(db, order)
        receipt = await _known_receipt(db, order, held)
        if receipt is not None:
            # It was not known: this is our stand-in.
            await db.execute(_PROFILES, workspace, held.ids)
            return receipt
        # Before the history, which tells where the answers are.
        await db.execute(_ANSWERS, workspace, held.ids, timeout=_SECONDS_MAX)
        history = _count(await db.execute(_HISTORY, workspace, held.ids, timeout=_SECONDS_MAX))
        counts = {"history": history, **await self._forget(db, order, held)}
        return await _write_receipt(db, order, held, counts)

    async def _forget(self, db: Connection, order: Order, held: _Held) -> Counter[str]:
        """Delete all but the history; return how many of what."""
        counts = await self._forget_areas(db, order, held)
        # Whoever writes about the person without holding the row looks for a tombstone under
        # this lock. Those that did are seen now; those that will wait for our end.
        await db.execute("SELECT pg_advisory_xact_lock($1)", LAST_WRITES)
        counts.update(await self._forget_areas(db, order, held))
        await db.execute(_PENDING, order.person[0], held.ids)
        await db.execute(_CONTRIBUTIONS, order.person[0], held.root)
        profiles = _count(await db.execute(_PROFILES, order.person[0], held.ids))
        counts["profiles"] = profiles if held.known else 0
        return counts

    async def _forget_areas(self, db: Connection, order: Order, held: _Held) -> Counter[str]:
        counts: Counter[str] = Counter()
        for area in self._areas:
            counts.update(await area(db, order.person[0], held.root))
        return counts


async def _hold(db: Connection, order: Order) -> _Held:
    """Hold the person's row against all writers; put one where there is none."""
    workspace, asked = order.person
    found = await db.fetchrow(_ROOT, workspace, asked)
    if found is None:
        # Whoever is making this person at this moment waits for us, or we for them.
        values = shard_of(workspace, asked), order.now
        status = await db.execute(_STAND_IN, workspace, asked, *values)
        if _count(status):
            return _Held(asked, [asked], known=False)
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "the profile has just come into being")
    root = found["merged_into"] or asked
    row = await db.fetchrow(_HOLD, workspace, root)
    if row is None or row["merged_into"] or (root != asked and asked not in row["member_ids"]):
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "the profile has just become another")
    return _Held(root, sorted({root, *row["member_ids"]}), known=True)


async def _known_receipt(db: Connection, order: Order, held: _Held) -> Erasure | None:
    """Return the receipt of who is refused; whoever has come to be known again has none."""
    if held.known:
        return None
    workspace = order.person[0]
    erasure_id = await db.fetchval(_REFUSED_BY, workspace, hash_of(order.person), order.now)
    return None if erasure_id is None else await read_receipt(db, workspace, erasure_id)


async def _write_receipt(
    db: Connection, order: Order, held: _Held, counts: Mapping[str, int]
) -> Erasure:
    workspace, erasure_id = order.person[0], uuid4()
    receipt = _receipt(order, erasure_id)
    times = receipt.create_time, receipt.refuse_until
    await db.execute(_RECEIPT, workspace, erasure_id, *times, order.reason)
    removal = Removal("profile", counts, order.now)
    await write_removal(db, workspace, erasure_id, removal)
    hashes = [hash_of((workspace, one)) for one in held.ids]
    await db.execute(_REFUSE, workspace, hashes, erasure_id, order.refuse_until)
    await owe(db, _word(order, erasure_id, held.ids))
    await announce(db, "erasures")
    return receipt._replace(removals=(removal,))


def _word(order: Order, erasure_id: UUID, ids: Sequence[str]) -> list[DerivedEvent]:
    """Return the word to the other services: one event an id, each in that id's partition."""
    properties = json.dumps({"erasure": str(erasure_id), "profile_ids": list(ids)})
    occur_us = micros(order.now)
    return [
        DerivedEvent(
            order.person[0],
            one,
            str(uuid5(erasure_id, one)),
            PROFILE_ERASED,
            occur_us,
            properties,
        )
        for one in ids
    ]


def _receipt(order: Order, erasure_id: UUID | None) -> Erasure:
    return Erasure(
        workspace=order.person[0],
        erasure_id=erasure_id,
        create_time=order.now,
        refuse_until=order.refuse_until,
        complete_time=None,
        refused_event_count=0,
        reason=order.reason,
        removals=(),
    )


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
