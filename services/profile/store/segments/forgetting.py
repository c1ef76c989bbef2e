"""Takes people out of all segments without a word: they were united with others, or erased."""

from mesh.postgres import Connection

_DELETE = "DELETE FROM segment_members WHERE workspace = $1 AND person_id = $2"
# The walk that builds a segment may just have seen her, and writes her in only where no row is.
_BLOCK = """
INSERT INTO segment_members (workspace, person_id, segment_key, member, transition, enter_us,
    exit_us)
SELECT $1, $2, segment_key, false, 0, 0, 0 FROM segments WHERE workspace = $1 AND state = 1
ON CONFLICT (workspace, person_id, segment_key) DO UPDATE SET member = false, due_us = NULL
"""


async def forget(db: Connection, workspace: str, person_id: str) -> int:
    """Delete what there is of somebody who is no person any more; return how many rows."""
    status = await db.execute(_DELETE, workspace, person_id)
    await db.execute(_BLOCK, workspace, person_id)
    return int(status.rpartition(" ")[2])


async def erase(db: Connection, workspace: str, person_id: str) -> dict[str, int]:
    """Delete all of the person; return how much by kind."""
    return {"segment_memberships": await forget(db, workspace, person_id)}
