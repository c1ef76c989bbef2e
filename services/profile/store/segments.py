"""Segments: their definitions, and who is in them."""

from collections.abc import Mapping, Sequence

from mesh.postgres import Connection
from services.profile.model.changes import Touched
from services.profile.model.segments import Segment
from services.profile.store.definitions import Edition


async def load_segments(db: Connection) -> Mapping[str, tuple[Segment, ...]]:
    """Return the segments of all workspaces, compiled."""
    return {}


async def reevaluate(
    db: Connection,
    touched: Sequence[Touched],
    edition: Edition,
    now_us: int,
    *,
    silent: bool = False,
) -> None:
    """Look again at the segments that may have changed for who was touched.

    The caller's transaction holds the rows of all of them.
    """
