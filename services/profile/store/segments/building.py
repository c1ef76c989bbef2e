"""Builds segments: a walk over all profiles of a workspace, piece by piece, each committed."""

from datetime import datetime
from typing import NamedTuple

import structlog
from asyncpg import exceptions as driver

from mesh.errors import InvalidArgument, MeshError
from mesh.postgres import Connection, Database, translated
from services.profile.convert.predicates import compile_filter
from services.profile.model.segments import Binding
from services.profile.store.definitions import announce
from services.profile.store.horizon import settled
from services.profile.store.segments.failing import is_its_own_fault

log = structlog.get_logger(__name__)

# So many profiles in one statement that it is over in a moment, whatever the filter asks.
PIECE = 5000
# A filter that cannot be asked is asked again after so long; others are built meanwhile.
_REST_US = 60_000_000

# What began after this time sees the segment; the change was committed before we could read it.
_BEGIN = """
UPDATE segments SET begin_time = clock_timestamp() WHERE state = 1 AND begin_time IS NULL
"""
_BEGIN_REMOVALS = """
UPDATE segment_removals SET begin_time = clock_timestamp() WHERE begin_time IS NULL
"""
_NEXT = """
SELECT workspace, segment_key, filter, walked_to, walk_count, begin_time
FROM segments WHERE state = 1 AND begin_time IS NOT NULL AND segment_key <> ALL ($1::bigint[])
ORDER BY segment_key LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
_ALL = "SELECT count(*) FROM profiles WHERE workspace = $1"
_LAST = """
SELECT max(profile_id), count(*) FROM (SELECT profile_id FROM profiles
    WHERE workspace = $1 AND profile_id > $2 ORDER BY profile_id LIMIT $3) AS piece
"""
_WALKED = """
UPDATE segments SET walked_to = $2, walked_count = walked_count + $3, walk_count = $4
WHERE segment_key = $1
"""
_HOLD = """
SELECT version FROM catalogues WHERE kind IN ('segments', 'traits') ORDER BY kind FOR NO KEY UPDATE
"""
_ACTIVE = "UPDATE segments SET state = 2 WHERE segment_key = $1 AND state = 1"
_NEXT_REMOVAL = """
SELECT workspace, segment_key, walked_to, begin_time FROM segment_removals
WHERE begin_time IS NOT NULL ORDER BY segment_key LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
_LAST_MEMBER = """
SELECT max(person_id) FROM (SELECT person_id FROM segment_members
    WHERE workspace = $1 AND person_id > $2 ORDER BY person_id LIMIT $3) AS piece
"""
_REMOVE = """
DELETE FROM segment_members
WHERE workspace = $1 AND person_id > $2 AND person_id <= $3 AND segment_key = $4
"""
_REMOVED_TO = "UPDATE segment_removals SET walked_to = $2 WHERE segment_key = $1"
_REMOVED = "DELETE FROM segment_removals WHERE segment_key = $1"
_STALE = """
SELECT workspace, segment_key FROM segments
WHERE count_time IS NULL OR count_time < clock_timestamp() - interval '1 minute'
ORDER BY count_time NULLS FIRST LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
_RECOUNT = """
UPDATE segments SET count_time = clock_timestamp(), member_count =
    (SELECT count(*) FROM segment_members WHERE workspace = $1 AND segment_key = $2 AND member)
WHERE segment_key = $2
"""


class Walk(NamedTuple):
    """A segment that is being built."""

    workspace: str
    segment_key: int
    filter: str
    walked_to: str
    walk_count: int
    begin_time: datetime


class Building:
    """Walks, one piece a transaction: whoever dies on the way has lost one piece."""

    def __init__(self, database: Database, *, piece: int = PIECE) -> None:
        """Take the pool and how many profiles make a piece."""
        self._database = database
        self._piece = piece
        # Of segments whose filters fail on a whole piece, or run into the time limit.
        self._pieces: dict[int, int] = {}
        self._rests_until_us: dict[int, int] = {}

    async def begin(self) -> None:
        """Note that those segments which are new have been seen."""
        async with self._database.connection() as db:
            await db.execute(_BEGIN)
            await db.execute(_BEGIN_REMOVALS)

    async def step(self, now_us: int) -> bool:
        """Walk one piece of one segment; return whether there was one to walk."""
        waiting = [key for key, until_us in self._rests_until_us.items() if until_us > now_us]
        while True:
            async with self._database.transaction() as db:
                row = await db.fetchrow(_NEXT, waiting)
                if row is None:
                    return False
                walk = Walk(*row)
                if not await settled(db, walk.begin_time):
                    waiting.append(walk.segment_key)
                    continue
                done = await self._try(db, walk, now_us)
            if done:
                await self._activate(walk.segment_key)
            return True

    async def remove_step(self) -> bool:
        """Remove one piece of what a segment that is gone has left; return whether there was."""
        async with self._database.transaction() as db:
            row = await db.fetchrow(_NEXT_REMOVAL)
            if row is None or not await settled(db, row["begin_time"]):
                return False
            workspace, key, after, _ = row
            last = await db.fetchval(_LAST_MEMBER, workspace, after, self._piece)
            if last is None:
                await db.execute(_REMOVED, key)
            else:
                await db.execute(_REMOVE, workspace, after, last, key)
                await db.execute(_REMOVED_TO, key, last)
            return True

    async def recount_step(self) -> bool:
        """Count the members of a segment that was not counted of late; return whether one was."""
        async with self._database.transaction() as db:
            row = await db.fetchrow(_STALE)
            if row is None:
                return False
            await db.execute(_RECOUNT, *row)
            return True

    async def _try(self, db: Connection, walk: Walk, now_us: int) -> bool:
        """Walk a piece, a smaller one after each that failed; return whether it was the last.

        Somebody of whom the filter cannot be asked at all is left out: until she changes
        she is no member, and everybody behind her is looked at.
        """
        piece = self._pieces.get(walk.segment_key, self._piece)
        try:
            # Its own part of the transaction: what fails in it leaves the rest as it is.
            with translated():
                async with db.transaction():
                    done = await self._walk(db, walk, piece, now_us)
        except (MeshError, driver.PostgresError) as error:
            if not is_its_own_fault(error):
                raise
            log.exception("segment_piece_failed", segment_key=walk.segment_key, piece=piece)
            self._pieces[walk.segment_key] = max(1, piece // 4)
            if isinstance(error, InvalidArgument) or (piece == 1 and isinstance(error, MeshError)):
                self._rests_until_us[walk.segment_key] = now_us + _REST_US
            elif piece == 1:
                await self._leave_out(db, walk)
            return False
        self._pieces[walk.segment_key] = min(self._piece, 2 * piece)
        return done

    async def _leave_out(self, db: Connection, walk: Walk) -> None:
        last, walked = await _row(db, _LAST, walk.workspace, walk.walked_to, 1)
        await db.execute(_WALKED, walk.segment_key, last, walked, max(walk.walk_count, 1))

    async def _walk(self, db: Connection, walk: Walk, piece: int, now_us: int) -> bool:
        """Write who of the next piece is in or will be due; return whether it was the last."""
        count = walk.walk_count or await db.fetchval(_ALL, walk.workspace)
        last, walked = await _row(db, _LAST, walk.workspace, walk.walked_to, piece)
        if last is None:
            return True
        # The turns that know the segment write how they found a person, in or out; what is
        # read here may be older, and gives way.
        binding = Binding(now_us, first=6)
        chosen = compile_filter(walk.filter)
        holds, due = chosen.add_to(binding), chosen.add_due_to(binding)
        await db.execute(
            f"INSERT INTO segment_members (workspace, person_id, segment_key, member,"  # noqa: S608 — values are parameters
            " transition, enter_us, exit_us, due_us)"
            " SELECT $1, f.profile_id, $4, f.holds IS TRUE, (f.holds IS TRUE)::integer,"
            " CASE WHEN f.holds THEN $5::bigint ELSE 0 END, 0, f.due"
            f" FROM (SELECT p.profile_id, {holds} AS holds, {due} AS due FROM profiles AS p"
            " WHERE p.workspace = $1 AND p.profile_id > $2 AND p.profile_id <= $3"
            " AND p.merged_into = '' OFFSET 0) AS f"
            " WHERE f.holds OR f.due IS NOT NULL ORDER BY f.profile_id ON CONFLICT DO NOTHING",
            walk.workspace,
            walk.walked_to,
            last,
            walk.segment_key,
            now_us,
            *binding.parameters,
        )
        await db.execute(_WALKED, walk.segment_key, last, walked, max(count, 1))
        return walked < piece

    async def _activate(self, segment_key: int) -> None:
        async with self._database.transaction() as db:
            # First what whoever changes a segment holds first.
            await db.execute(_HOLD)
            if await db.execute(_ACTIVE, segment_key) == "UPDATE 1":
                await announce(db, "segments")
        log.info("segment_built", segment_key=segment_key)


async def _row(db: Connection, query: str, *arguments: object) -> tuple[str | None, int]:
    row = await db.fetchrow(query, *arguments)
    return (None, 0) if row is None else (row[0], row[1])
