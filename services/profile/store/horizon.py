"""Whether all transactions that may not have seen a change are over."""

from datetime import datetime

from mesh.postgres import Connection

# Ours are those of our role. A transaction that has not written yet has no number of its own, so
# that numbers do not tell; every one has a time at which it began.
_SETTLED = """
SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
    AND usename = current_user AND pid <> pg_backend_pid() AND xact_start <= $1)
"""


async def settled(db: Connection, since: datetime) -> bool:
    """Return whether no transaction is left that began before; `since` comes after the commit."""
    return bool(await db.fetchval(_SETTLED, since))
