"""Takes people out of all segments without a word: they were united with others, or erased."""

from mesh.postgres import Connection
from services.profile.store.identities import members

_DELETE = "DELETE FROM segment_members WHERE workspace = $1 AND person_id = $2"
# The walk that builds a segment may just have seen her, and writes her in only where no row is.
_BLOCK = """
INSERT INTO segment_members (workspace, person_id, segment_key, member, transition, enter_us,
    exit_us)
SELECT $1, $2, segment_key, false, 0, 0, 0 FROM segments WHERE workspace = $1 AND state = 1
ON CONFLICT (workspace, person_id, segment_key) DO UPDATE SET member = false, due_us = NULL
"""
_WAIT_FOR_WALKS = "SELECT FROM segments WHERE workspace = $1 AND state = 1 FOR SHARE"
_ERASE = "DELETE FROM segment_members WHERE workspace = $1 AND person_id = ANY($2::text[])"


async def forget(db: Connection, workspace: str, person_id: str) -> int:
    """Delete what there is of somebody who is no person any more; return how many rows."""
    status = await db.execute(_DELETE, workspace, person_id)
    await db.execute(_BLOCK, workspace, person_id)
    return int(status.rpartition(" ")[2])


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete all of the person, under each id; return how much by kind.

    Before the profile itself goes: it knows the ids. No row may stay to block a walk, as it
    would name her: whoever walks ends the piece at hand first, and begins the next when
    the person is gone.
    """
    await db.execute(_WAIT_FOR_WALKS, workspace)
    ids = await members(db, (workspace, person_id))
    status = await db.execute(_ERASE, workspace, ids)
    return {"segment_memberships": int(status.rpartition(" ")[2])}
