"""Traits outside of turns: values that are written by themselves."""

from collections.abc import Iterable
from datetime import datetime

from mesh.postgres import Connection
from services.profile.model.changes import Touched
from services.profile.store.definitions import Edition
from services.profile.store.rows import columns
from services.profile.store.segments import reevaluate
from services.profile.store.traits.advancing import Advance, write

_SETTLE = """
UPDATE profiles AS p SET traits = w.traits, version = p.version + 1, update_time = $4
FROM unnest($1::text[], $2::text[], $3::jsonb[]) AS w (workspace, profile_id, traits)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id
"""


async def settle(
    db: Connection, edition: Edition, advanced: Advance, now: datetime, now_us: int
) -> None:
    """Write what was made of people whose rows the caller holds, and tell their segments."""
    rows = [(*key, text) for key, text in sorted(advanced.values.items())]
    if rows:
        await db.execute(_SETTLE, *columns(rows, 3), now)
    await write(db, advanced)
    await tell(
        db, edition, (Touched(key, traits=ids) for key, ids in advanced.changed.items()), now_us
    )


async def tell(db: Connection, edition: Edition, touched: Iterable[Touched], now_us: int) -> None:
    """Let the segments of these people be looked at again."""
    everybody = sorted(touched)
    if everybody:
        await reevaluate(db, everybody, edition, now_us)
