"""Slots of campaigns that have a rate: taken by one statement, exact however many take them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from mesh.postgres import Database

_TAKE = """
INSERT INTO rates AS r (workspace, campaign, next_time)
SELECT workspace, campaign, $5::timestamptz + interval_ * number
FROM unnest($1::text[], $2::text[], $3::interval[], $4::integer[])
    AS a (workspace, campaign, interval_, number)
ORDER BY workspace, campaign
ON CONFLICT (workspace, campaign) DO UPDATE
    SET next_time = greatest(r.next_time, $5) + (excluded.next_time - $5)
RETURNING workspace, campaign, next_time
"""
# As if those had never asked who have left.
_GIVE_BACK = """
UPDATE rates AS r SET next_time = least(r.next_time, coalesce((
    SELECT max(e.slot_time) FROM enrollments AS e
    WHERE e.workspace = r.workspace AND e.campaign = r.campaign AND e.state = 2
        AND e.slot_time > $3
), $3) + interval '1 second')
WHERE r.workspace = $1 AND r.campaign = $2
"""


class RateStore:
    """Hands out slots."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    async def take(
        self, wanted: Mapping[tuple[str, str], tuple[int, timedelta]], now: datetime
    ) -> dict[tuple[str, str], datetime]:
        """Take slots of campaigns, as many and as far apart as they say; return each first one."""
        rows = [(*name, interval, number) for name, (number, interval) in wanted.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with self._database.connection() as connection:
            found = await connection.fetch(_TAKE, *columns, now)
        first: dict[tuple[str, str], datetime] = {}
        for row in found:
            name = row["workspace"], row["campaign"]
            number, interval = wanted[name]
            first[name] = row["next_time"] - number * interval
        return first

    async def give_back(self, workspace: str, campaign: str, now: datetime) -> None:
        """Let those slots be taken again that nobody waits for any more."""
        async with self._database.connection() as connection:
            await connection.execute(_GIVE_BACK, workspace, campaign, now)
