"""Traits as they were declared."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg
import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import AlreadyExists, FailedPrecondition, MeshError, ResourceExhausted
from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.profile.convert.candidates import compile_trait_filter
from services.profile.convert.traits import previous_id
from services.profile.model.traits import (
    Aggregate,
    Calendar,
    Declared,
    Rolling,
    Trait,
    TraitState,
    Window,
)
from services.profile.model.watches import CONDITION
from services.profile.store.definitions import announce
from services.profile.store.segments.definitions import traits_read

log = structlog.get_logger(__name__)

# Every event of a wanted type is looked at once for each.
TRAITS_MAX = 100

TRAIT_COLUMNS = """workspace, trait_id, event_type, aggregate, property, filter, rolling_us,
    calendar, compare, backfill, state, create_time, walked_count, walk_count"""
_LOAD = f"""
SELECT {TRAIT_COLUMNS} FROM traits WHERE state <> 3 ORDER BY workspace, trait_id
"""  # noqa: S608 — put together from constants
_GET = f"""
SELECT {TRAIT_COLUMNS} FROM traits WHERE workspace = $1 AND trait_id = $2 AND state <> 3
"""  # noqa: S608 — put together from constants
_LIST = f"""
SELECT {TRAIT_COLUMNS} FROM traits WHERE workspace = $1 AND trait_id > $2 AND state <> 3
ORDER BY trait_id LIMIT $3
"""  # noqa: S608 — put together from constants
# Also those that are being removed: their names are not free yet.
_ALL = f"""
SELECT {TRAIT_COLUMNS} FROM traits WHERE workspace = $1
"""  # noqa: S608 — put together from constants
_CREATE = """
INSERT INTO traits (workspace, trait_id, event_type, aggregate, property, filter, rolling_us,
    calendar, compare, backfill, state, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_REMOVE = """
UPDATE traits SET state = 3, seen_time = NULL, walked_to = '', walked_count = 0
WHERE workspace = $1 AND trait_id = $2 AND state <> 3
"""
# One at a time declares: the limit is kept, and `announce` takes this lock anyway.
_HOLD = """
SELECT version FROM catalogues WHERE kind IN ('segments', 'traits') ORDER BY kind FOR NO KEY UPDATE
"""


async def load_traits(db: Connection) -> Mapping[str, tuple[Trait, ...]]:
    """Return the traits of all workspaces, their filters compiled."""
    traits: defaultdict[str, list[Trait]] = defaultdict(list)
    for row in await db.fetch(_LOAD):
        trait = trait_of(row)
        try:
            if trait.filter:
                compile_trait_filter(trait.filter)
        except MeshError as error:
            # It did when it was declared. Everybody else's turns go on without it.
            log.exception("trait_not_compiled", trait=_name(trait), problem=error.message)
            continue
        traits[trait.workspace].append(trait)
    return {workspace: tuple(found) for workspace, found in traits.items()}


class TraitDefinitions:
    """Declares traits and takes them back."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def create(self, trait: Trait, now: datetime) -> Declared:
        """Declare a trait, unless an equal one is there; return what is there.

        Raises:
            AlreadyExists: Another one has the name.
            FailedPrecondition: One that had it is still being removed.
            ResourceExhausted: There are as many as there may be.
        """
        state = TraitState.BACKFILLING if trait.backfill else TraitState.ACTIVE
        async with self._database.transaction() as db:
            await db.execute(_HOLD)
            rows = {row["trait_id"]: row for row in await db.fetch(_ALL, trait.workspace)}
            row = rows.get(trait.trait_id)
            if row is not None and row["state"] != TraitState.REMOVING:
                return _equal(trait, row)
            _check(trait, rows)
            await db.execute(_CREATE, *_columns(trait), state, now)
            await announce(db, "traits")
        return Declared(
            replace(trait, backfilling=trait.backfill), now, 0.0 if trait.backfill else 1.0
        )

    async def get(self, workspace: str, trait_id: str) -> Declared | None:
        """Return a trait."""
        async with self._database.connection() as db:
            row = await db.fetchrow(_GET, workspace, trait_id)
        return None if row is None else _declared(row)

    async def list_after(self, workspace: str, trait_id: str, *, limit: int) -> list[Declared]:
        """Return the next traits of a workspace by id."""
        async with self._database.connection() as db:
            return [_declared(row) for row in await db.fetch(_LIST, workspace, trait_id, limit)]

    async def remove(self, workspace: str, trait_id: str) -> bool:
        """Take a trait back; its values go after it. Return whether it was there.

        Raises:
            FailedPrecondition: A segment reads it.
        """
        async with self._database.transaction() as db:
            # In the order of a walk's last step, which holds its trait.
            if await db.execute(_REMOVE, workspace, trait_id) != "UPDATE 1":
                return False
            await db.execute(_HOLD)
            await _check_unread(db, workspace, trait_id)
            await announce(db, "traits")
        return True


def _equal(trait: Trait, row: asyncpg.Record) -> Declared:
    """Return what is there, if it is the same but for how far it is."""
    there = _declared(row)
    if replace(there.trait, backfilling=False) != replace(trait, backfilling=False):
        raise _taken(trait, "is another trait")
    return there


def _check(trait: Trait, rows: Mapping[str, asyncpg.Record]) -> None:
    if trait.trait_id in rows:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{_name(trait)}: the values of the one before are still being removed",
            metadata={
                "resourceName": _name(trait),
                "state": "REMOVING",
                "allowedStates": "REMOVED",
            },
        )
    if len(rows) >= TRAITS_MAX:
        raise ResourceExhausted(
            ErrorReason.ERROR_REASON_LIMIT_REACHED,
            f"a workspace has {TRAITS_MAX} traits at most",
            metadata={"collection": "traits", "limit": str(TRAITS_MAX)},
        )
    # What the window before is called must not be what another trait is called.
    if trait.compare and previous_id(trait.trait_id) in rows:
        raise _taken(trait, f"with compare needs {previous_id(trait.trait_id)}, a trait")
    for row in rows.values():
        if row["compare"] and previous_id(row["trait_id"]) == trait.trait_id:
            raise _taken(trait, f"is the window before of {row['trait_id']}")


def _taken(trait: Trait, why: str) -> AlreadyExists:
    return AlreadyExists(
        ErrorReason.ERROR_REASON_RESOURCE_EXISTS,
        f"{_name(trait)} {why}",
        metadata={"resourceName": _name(trait)},
    )


async def _check_unread(db: Connection, workspace: str, trait_id: str) -> None:
    name = format_name(workspace, "traits", trait_id)
    read = await traits_read(db, workspace)
    segment = read.get(trait_id) or read.get(previous_id(trait_id))
    if segment is not None:
        raise FailedPrecondition(
            ErrorReason.ERROR_REASON_STATE_FORBIDS,
            f"{name} is read by {_reader(workspace, segment)}",
            metadata={"resourceName": name, "state": "READ", "allowedStates": "UNREAD"},
        )


def _reader(workspace: str, segment_id: str) -> str:
    """Return who reads it: a segment, or what begins a campaign."""
    if segment_id.startswith(CONDITION):
        campaign = segment_id.removeprefix(CONDITION).partition(":")[0]
        return format_name(workspace, "campaigns", campaign)
    return format_name(workspace, "segments", segment_id)


def _name(trait: Trait) -> str:
    return format_name(trait.workspace, "traits", trait.trait_id)


def _columns(trait: Trait) -> Sequence[object]:
    window = trait.window
    return (
        trait.workspace,
        trait.trait_id,
        trait.event_type,
        trait.aggregate,
        trait.property,
        trait.filter,
        window.span_us if isinstance(window, Rolling) else 0,
        window if isinstance(window, Calendar) else 0,
        trait.compare,
        trait.backfill,
    )


def _declared(row: asyncpg.Record) -> Declared:
    done, of = row["walked_count"], row["walk_count"]
    walking = row["state"] == TraitState.BACKFILLING
    return Declared(
        trait_of(row),
        row["create_time"],
        # Profiles that came after the beginning are walked through as well.
        (min(1.0, done / of) if of else 0.0) if walking else 1.0,
    )


def trait_of(row: asyncpg.Record) -> Trait:
    """Return the trait in a row of `TRAIT_COLUMNS`."""
    return Trait(
        workspace=row["workspace"],
        trait_id=row["trait_id"],
        event_type=row["event_type"],
        aggregate=Aggregate(row["aggregate"]),
        property=row["property"],
        filter=row["filter"],
        window=_window(row["rolling_us"], row["calendar"]),
        compare=row["compare"],
        backfill=row["backfill"],
        backfilling=row["state"] == TraitState.BACKFILLING,
    )


def _window(rolling_us: int, calendar: int) -> Window | None:
    if rolling_us:
        return Rolling(rolling_us)
    return Calendar(calendar) if calendar else None
