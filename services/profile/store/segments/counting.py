"""Counts the profiles for which a filter holds: one statement, planned for this one question."""

from datetime import timedelta

from asyncpg import exceptions as driver

from mesh.expressions import too_costly
from mesh.postgres import Database
from services.profile.model.segments import Binding, Filter

# Elsewhere here rows are looked up by key; this reads a table from end to end.
_PLANNING = """
SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
SET LOCAL plan_cache_mode = force_custom_plan
"""


class Counting:
    """Counts for who asks, for as long as she waits."""

    def __init__(self, database: Database, *, longest: timedelta = timedelta(seconds=9)) -> None:
        """Take the pool and how long a count may take."""
        self._database = database
        self._longest = longest

    async def count(self, workspace: str, wanted: Filter, now_us: int) -> tuple[int, int]:
        """Return for how many profiles of a workspace the filter holds, and how many there are.

        Raises:
            InvalidArgument: `EXPRESSION_TOO_COSTLY`: it takes too long.
        """
        binding = Binding(now_us, first=2)
        sql = wanted.add_to(binding)
        limit = self._longest.total_seconds()
        async with self._database.transaction() as db:
            await db.execute(f"{_PLANNING}; SET LOCAL statement_timeout = {round(limit * 1000)}")
            try:
                row = await db.fetchrow(
                    f"SELECT count(*) FILTER (WHERE {sql}), count(*)"  # noqa: S608 — values are parameters
                    " FROM profiles AS p WHERE p.workspace = $1 AND p.merged_into = ''",
                    workspace,
                    *binding.parameters,
                )
            except driver.QueryCanceledError:
                raise too_costly(wanted.source, f"{limit:g} s of counting") from None
        return (0, 0) if row is None else (row[0], row[1])
