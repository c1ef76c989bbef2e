"""Who was forgotten: tombstones that keep the erased away, and the receipts."""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import FailedPrecondition, NotFound
from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.profile.model import Event, PersonKey
from services.profile.model.erasures import PROFILE_ERASED, Erasure, Removal, hash_of
from services.profile.rules.erasing import is_complete

# Of this schema's advisory locks: held while the last of a person goes.
LAST_WRITES = 0x6572_6173

_FIND = """
SELECT workspace, person_hash, erasure_id FROM unnest($1::text[], $2::bytea[])
    AS w (workspace, person_hash) JOIN tombstones AS t USING (workspace, person_hash)
WHERE $3::timestamptz IS NULL OR refuse_until > $3
"""
_COUNT_REFUSED = """
UPDATE erasures AS e SET refused_event_count = refused_event_count + w.refused
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS w (workspace, erasure_id, refused)
WHERE e.workspace = w.workspace AND e.erasure_id = w.erasure_id
"""
_RECEIPT_COLUMNS = (
    "e.workspace, e.erasure_id, e.create_time, e.refuse_until, e.complete_time,"
    " e.refused_event_count, e.reason"
)
_REMOVALS = """
SELECT erasure_id, service, counts, remove_time FROM erasure_removals
WHERE workspace = $1 AND erasure_id = ANY($2::uuid[]) ORDER BY remove_time, service
"""
_GET = f"SELECT {_RECEIPT_COLUMNS} FROM erasures AS e WHERE workspace = $1 AND erasure_id = $2"  # noqa: S608 — put together from constants
_LIST = f"""
SELECT {_RECEIPT_COLUMNS} FROM erasures AS e
WHERE workspace = $1 AND (create_time, erasure_id) < ($2, $3)
ORDER BY create_time DESC, erasure_id DESC LIMIT $4
"""  # noqa: S608 — put together from constants
# Told first, told for good: a repeat finds less, because the first has removed it.
_RECORD = """
INSERT INTO erasure_removals AS r (workspace, erasure_id, service, counts, remove_time)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (workspace, erasure_id, service)
    DO UPDATE SET counts = excluded.counts || r.counts
"""

ReceiptKey = tuple[datetime, UUID]


async def refused(
    db: Connection, people: Collection[PersonKey], now: datetime
) -> dict[PersonKey, UUID]:
    """Return by which erasure each of those people is refused who is."""
    return await _find(db, people, now)


async def count_refused(
    db: Connection, events: Iterable[Event], erasures: Mapping[PersonKey, UUID]
) -> None:
    """Count the events on the receipts of their people; the word of the erasure itself does not."""
    counts: dict[tuple[str, UUID], int] = {}
    for event in events:
        erasure_id = erasures.get(event.person)
        if erasure_id is not None and event.type != PROFILE_ERASED:
            key = event.workspace, erasure_id
            counts[key] = counts.get(key, 0) + 1
    if counts:
        # In one order everywhere, so that two turns wait for each other in a line.
        ordered = sorted(counts)
        workspaces, ids = [one[0] for one in ordered], [one[1] for one in ordered]
        await db.execute(_COUNT_REFUSED, workspaces, ids, [counts[one] for one in ordered])


async def was_overtaken(
    db: Connection, created: Collection[PersonKey], *, erasures_version: int
) -> bool:
    """Say whether one of the people this transaction has created was erased meanwhile.

    To be asked after their rows were inserted. An erasure puts a row of its own in the
    place of each id without one, so that an insert waits for its end; whoever looked for
    tombstones before has seen none then. `erasures_version` is that of the edition the
    transaction began with: while it holds, the answer costs one small query.
    """
    if not created:
        return False
    version = await db.fetchval("SELECT version FROM catalogues WHERE kind = 'erasures'")
    return version != erasures_version and bool(await _find(db, created, None))


async def check_not_erased(db: Connection, people: Collection[PersonKey], now: datetime) -> None:
    """Refuse writes about people who were erased.

    To be called after the writes, in their transaction: an erasure that goes on at the same
    time either sees what was written or is seen here.

    Raises:
        FailedPrecondition: One of the people was erased and is refused still.
    """
    await db.execute("SELECT pg_advisory_xact_lock_shared($1)", LAST_WRITES)
    for (workspace, _), erasure_id in (await _find(db, people, now)).items():
        name = format_name(workspace, "erasures", str(erasure_id))
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_PERSON_ERASED,
            f"the profile was erased and is refused for a while: {name}",
            metadata={"erasure": name},
        )


async def read_receipt(db: Connection, workspace: str, erasure_id: UUID) -> Erasure:
    """Return a receipt.

    Raises:
        NotFound: There is none.
    """
    row = await db.fetchrow(_GET, workspace, erasure_id)
    if row is None:
        raise _not_found(workspace, erasure_id)
    return (await _receipts(db, workspace, [row]))[0]


class Erasures:
    """Receipts of all workspaces."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def get(self, workspace: str, erasure_id: UUID) -> Erasure:
        """Return a receipt.

        Raises:
            NotFound: There is none.
        """
        async with self._database.connection() as db:
            return await read_receipt(db, workspace, erasure_id)

    async def list_before(self, workspace: str, key: ReceiptKey, *, limit: int) -> list[Erasure]:
        """Return the receipts before `key`, newest first."""
        async with self._database.connection() as db:
            rows = await db.fetch(_LIST, workspace, *key, limit)
            return await _receipts(db, workspace, rows)

    async def record(self, workspace: str, erasure_id: UUID, removal: Removal) -> None:
        """Write down what a service has removed; of each kind the first count stands.

        Raises:
            NotFound: There is no such erasure.
        """
        async with self._database.transaction() as db:
            # Held: of two services that answer at once, one must see that all have.
            row = await db.fetchrow(f"{_GET} FOR UPDATE", workspace, erasure_id)
            if row is None:
                raise _not_found(workspace, erasure_id)
            await write_removal(db, workspace, erasure_id, removal)
            (receipt,) = await _receipts(db, workspace, [row])
            answered = {one.service for one in receipt.removals}
            if receipt.complete_time is None and is_complete(answered):
                await db.execute(
                    "UPDATE erasures SET complete_time = $3"
                    " WHERE workspace = $1 AND erasure_id = $2",
                    workspace,
                    erasure_id,
                    removal.remove_time,
                )

    async def forget_tombstones(self, now: datetime, *, limit: int = 10_000) -> int:
        """Let in again who was refused for long enough, at most `limit`; return how many."""
        async with self._database.connection() as db:
            status = await db.execute(
                "DELETE FROM tombstones WHERE (workspace, person_hash) IN (SELECT workspace,"
                " person_hash FROM tombstones WHERE refuse_until <= $1 LIMIT $2)",
                now,
                limit,
            )
        return int(status.rpartition(" ")[2])


async def write_removal(db: Connection, workspace: str, erasure_id: UUID, removal: Removal) -> None:
    """Write down what a service has removed, in this transaction."""
    counts = json.dumps(dict(removal.counts))
    await db.execute(_RECORD, workspace, erasure_id, removal.service, counts, removal.remove_time)


async def _find(
    db: Connection, people: Collection[PersonKey], now: datetime | None
) -> dict[PersonKey, UUID]:
    if not people:
        return {}
    hashes = {(person[0], hash_of(person)): person for person in people}
    workspaces, digests = [key[0] for key in hashes], [key[1] for key in hashes]
    rows = await db.fetch(_FIND, workspaces, digests, now)
    return {hashes[row[0], row[1]]: row[2] for row in rows}


async def _receipts(
    db: Connection, workspace: str, rows: Collection[asyncpg.Record]
) -> list[Erasure]:
    found: dict[UUID, list[Removal]] = {row["erasure_id"]: [] for row in rows}
    for erasure_id, service, counts, time in await db.fetch(_REMOVALS, workspace, list(found)):
        decoded = msgspec.json.decode(counts, type=dict[str, int])
        found[erasure_id].append(Removal(service, decoded, time))
    return [Erasure(**dict(row), removals=tuple(found[row["erasure_id"]])) for row in rows]


def _not_found(workspace: str, erasure_id: UUID) -> NotFound:
    name = format_name(workspace, "erasures", str(erasure_id))
    return NotFound(
        ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND,
        f"no such erasure: {name}",
        metadata={"resourceName": name},
    )
