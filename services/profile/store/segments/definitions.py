"""Segments as they were declared."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg
import structlog
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import AlreadyExists, MeshError, ResourceExhausted, invalid_field
from mesh.names import format_name
from mesh.postgres import Connection, Database
from services.profile.convert.predicates import compile_filter
from services.profile.model.memberships import SegmentDefinition, SegmentState
from services.profile.model.segments import Binding, Segment
from services.profile.model.watches import CONDITION
from services.profile.store.definitions import announce

log = structlog.get_logger(__name__)

# Every touched person is looked at for each that concerns her.
SEGMENTS_MAX = 200

_COLUMNS = """workspace, segment_id, segment_key, filter, description, state, version,
    create_time, update_time, walked_count, walk_count, member_count"""
_LOAD = f"""
SELECT {_COLUMNS} FROM segments ORDER BY workspace, segment_key
"""  # noqa: S608 — put together from constants
_GET = f"""
SELECT {_COLUMNS} FROM segments WHERE workspace = $1 AND segment_id = $2
"""  # noqa: S608 — put together from constants
_LIST = f"""
SELECT {_COLUMNS} FROM segments WHERE workspace = $1 AND segment_id > $2
    AND segment_id < '{CONDITION}'
ORDER BY segment_id LIMIT $3
"""  # noqa: S608 — put together from constants
_CREATE = f"""
INSERT INTO segments (workspace, segment_id, filter, description, state, create_time, update_time)
VALUES ($1, $2, $3, $4, 1, $5, $5) RETURNING {_COLUMNS}
"""  # noqa: S608 — put together from constants
_DESCRIBE = f"""
UPDATE segments SET description = $3, version = version + 1, update_time = $4
WHERE workspace = $1 AND segment_id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 — put together from constants
# Built anew, under a key of its own.
_REBUILD = f"""
UPDATE segments SET filter = $3, description = $4, version = version + 1, update_time = $5,
    state = 1, segment_key = nextval(pg_get_serial_sequence('segments', 'segment_key')),
    begin_time = NULL, walked_to = '', walked_count = 0, walk_count = 0, member_count = 0,
    count_time = NULL
WHERE workspace = $1 AND segment_id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608 — put together from constants
_REMOVE = "INSERT INTO segment_removals (segment_key, workspace) VALUES ($1, $2)"
_DELETE = "DELETE FROM segments WHERE workspace = $1 AND segment_id = $2 RETURNING segment_key"
_COUNT = f"""
SELECT count(*) FROM segments WHERE workspace = $1 AND segment_id < '{CONDITION}'
"""  # noqa: S608 — put together from constants
_TRAITS = "SELECT trait_id, compare FROM traits WHERE workspace = $1 AND state <> 3"
# One at a time declares, in the order in which all do: `announce` takes these locks anyway.
_HOLD = """
SELECT version FROM catalogues WHERE kind IN ('segments', 'traits') ORDER BY kind FOR NO KEY UPDATE
"""

Revise = Callable[[SegmentDefinition | None], tuple[str, str] | None]
"""Takes a segment, gives its filter and description; None: all stays as it is."""


async def load_segments(db: Connection) -> Mapping[str, tuple[Segment, ...]]:
    """Return the segments of all workspaces, compiled."""
    segments: defaultdict[str, list[Segment]] = defaultdict(list)
    for row in await db.fetch(_LOAD):
        found = definition_of(row)
        try:
            compiled = compile_filter(found.filter)
        except MeshError as error:
            # It did when it was declared. Everybody else's turns go on without it.
            log.exception("segment_not_compiled", segment=name_of(found), problem=error.message)
            continue
        building = found.state is SegmentState.BUILDING
        segments[found.workspace].append(
            Segment(found.workspace, found.segment_id, found.segment_key, building, compiled)
        )
    return {workspace: tuple(those) for workspace, those in segments.items()}


async def traits_read(db: Connection, workspace: str) -> Mapping[str, str]:
    """Return the traits that segments of the workspace read, each with a segment that does."""
    return {
        trait: segment.segment_id
        for segment in (await load_segments(db)).get(workspace, ())
        for trait in segment.filter.depends_on.traits
    }


class SegmentDefinitions:
    """Declares segments and takes them back."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def create(
        self, workspace: str, segment_id: str, filter_: str, description: str, now: datetime
    ) -> SegmentDefinition:
        """Declare a segment, unless an equal one is there; return what is there.

        Raises:
            AlreadyExists: Another one has the name.
            ResourceExhausted: There are as many as there may be.
        """

        def revise(there: SegmentDefinition | None) -> tuple[str, str] | None:
            if there is None:
                return filter_, description
            if (there.filter, there.description) != (filter_, description):
                name = name_of(there)
                raise AlreadyExists(
                    ErrorReason.ERROR_REASON_RESOURCE_EXISTS,
                    f"{name} is another segment",
                    metadata={"resourceName": name},
                )
            return None

        return await self.change(workspace, segment_id, revise, now)

    async def change(
        self, workspace: str, segment_id: str, revise: Revise, now: datetime
    ) -> SegmentDefinition:
        """Write what `revise` makes of a segment, there or not; return it as written."""
        async with self._database.transaction() as db:
            await db.execute(_HOLD)
            row = await db.fetchrow(_GET, workspace, segment_id)
            there = None if row is None else definition_of(row)
            revised = revise(there)
            if revised is None and there is not None:
                return there
            filter_, description = revised or ("", "")
            if there is None:
                await _check_room(db, workspace)
                await _check_traits(db, workspace, filter_)
                row = await db.fetchrow(_CREATE, workspace, segment_id, filter_, description, now)
            elif filter_ == there.filter:
                row = await db.fetchrow(_DESCRIBE, workspace, segment_id, description, now)
            else:
                await _check_traits(db, workspace, filter_)
                await db.execute(_REMOVE, there.segment_key, workspace)
                row = await db.fetchrow(_REBUILD, workspace, segment_id, filter_, description, now)
            if there is None or filter_ != there.filter:
                await try_filter(db, workspace, filter_)
                await announce(db, "segments")
            if row is None:
                message = "a row that was held is gone"
                raise RuntimeError(message)
            return definition_of(row)

    async def get(self, workspace: str, segment_id: str) -> SegmentDefinition | None:
        """Return a segment."""
        async with self._database.connection() as db:
            row = await db.fetchrow(_GET, workspace, segment_id)
        return None if row is None else definition_of(row)

    async def list_after(
        self, workspace: str, segment_id: str, *, limit: int
    ) -> list[SegmentDefinition]:
        """Return the next segments of a workspace by id."""
        async with self._database.connection() as db:
            return [
                definition_of(row) for row in await db.fetch(_LIST, workspace, segment_id, limit)
            ]

    async def delete(self, workspace: str, segment_id: str) -> bool:
        """Take a segment back; who was in it goes after it. Return whether it was there."""
        async with self._database.transaction() as db:
            await db.execute(_HOLD)
            key = await db.fetchval(_DELETE, workspace, segment_id)
            if key is None:
                return False
            await db.execute(_REMOVE, key, workspace)
            await announce(db, "segments")
        return True


def definition_of(row: asyncpg.Record) -> SegmentDefinition:
    """Return the segment in a row."""
    state, done, of = SegmentState(row["state"]), row["walked_count"], row["walk_count"]
    # Profiles that came after the beginning are walked through as well.
    walked = min(1.0, done / of) if of else 0.0
    return SegmentDefinition(
        row["workspace"],
        row["segment_id"],
        row["segment_key"],
        row["filter"],
        row["description"],
        state,
        row["version"],
        row["create_time"],
        row["update_time"],
        walked if state is SegmentState.BUILDING else 1.0,
        row["member_count"],
    )


def name_of(segment: SegmentDefinition) -> str:
    """Return the full name of a segment."""
    return format_name(segment.workspace, "segments", segment.segment_id)


async def try_filter(db: Connection, workspace: str, filter_: str) -> None:
    """Ask the filter of a few: if its SQL were wrong, this call fails, and not every turn."""
    chosen, binding = compile_filter(filter_), Binding(0, first=2)
    holds, due = chosen.add_to(binding), chosen.add_due_to(binding)
    await db.fetch(
        f"SELECT {holds}, {due} FROM profiles AS p WHERE p.workspace = $1 LIMIT 100",  # noqa: S608 — values are parameters
        workspace,
        *binding.parameters,
    )


async def _check_room(db: Connection, workspace: str) -> None:
    if await db.fetchval(_COUNT, workspace) >= SEGMENTS_MAX:
        raise ResourceExhausted(
            ErrorReason.ERROR_REASON_LIMIT_REACHED,
            f"a workspace has {SEGMENTS_MAX} segments at most",
            metadata={"collection": "segments", "limit": str(SEGMENTS_MAX)},
        )


async def _check_traits(db: Connection, workspace: str, filter_: str) -> None:
    wanted = compile_filter(filter_).depends_on.traits
    if not wanted:
        return
    rows = await db.fetch(_TRAITS, workspace)
    known = {row[0] for row in rows} | {f"{row[0]}_previous" for row in rows if row[1]}
    for trait in sorted(wanted - known):
        raise invalid_field(
            "segment.filter", f"reads profile.traits.{trait}, which is no trait", reason="trait"
        )
