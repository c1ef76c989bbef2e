"""The schema of profile and the connections to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from mesh.postgres import Database
from mesh.postgres import connect as connect_database

SCHEMA = "profile"
MIGRATIONS = Path(__file__).parents[1] / "migrations"

# Every statement here looks rows up by key or by array. The plan is made once, and must not be
# the one that suited a table when it was empty: reading it from end to end.
_PLANNING = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


@asynccontextmanager
async def connect(url: str, *, size: int) -> AsyncIterator[Database]:
    """Open the pool of the service."""
    sign = "&" if "?" in url else "?"
    planned = f"{url}{sign}{urlencode(_PLANNING)}"
    async with connect_database(
        planned, schema=SCHEMA, size=size, application="beckon-profile"
    ) as database:
        yield database
