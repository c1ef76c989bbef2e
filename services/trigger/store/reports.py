"""What became of the passages of a campaign, counted."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections import defaultdict
from collections.abc import Iterable

from asyncpg import Record

from mesh.postgres import Database
from services.trigger.model import ArmCounts, EnrollmentState, GoalCounts, Sample, Tallies

_SENT, _EXITED = int(EnrollmentState.SENT), int(EnrollmentState.EXITED)
# Of a passage that was restarted only the latest counts: they share an entry.
_LATEST = "rank() OVER (PARTITION BY profile, entry_time{goal} ORDER BY occur_time DESC) = 1"
# Gates are a JSON list of lists, each beginning with its name.
_GATE = "convert_from(gates, 'UTF8')::jsonb -> -1 ->> 0"
_ARM = "coalesce(nullif(variant, ''), 'default')"
# As what is of a campaign is indexed.
_CAMPAIGN = "workspace || '/' || campaign = $1::text || '/' || $2::text"
_PASSAGES = (
    f"SELECT {_ARM} AS variant, count(*) AS entries, count(DISTINCT profile) AS profiles,"
    f" count(*) FILTER (WHERE state = {_SENT}) AS sent,"
    f" count(*) FILTER (WHERE state NOT IN ({_SENT}, {_EXITED})) AS waiting FROM ("
    "SELECT profile, variant, state,"
    f" {_LATEST.format(goal='')} AS latest FROM enrollments"
    f" WHERE {_CAMPAIGN}) AS p WHERE latest GROUP BY 1"
)
_EXITS = (
    f"SELECT {_ARM} AS variant, {_GATE} AS gate, count(*) AS count FROM ("
    f"SELECT variant, state, gates, {_LATEST.format(goal='')} AS latest FROM enrollments"
    f" WHERE {_CAMPAIGN}) AS p WHERE latest AND state = {_EXITED}"
    " GROUP BY 1, 2"
)
_GOALS = (
    f"SELECT {_ARM} AS variant, goal, count(*) AS passages, count(DISTINCT profile) AS profiles,"
    " sum(value) AS value FROM ("
    f"SELECT profile, variant, goal, value, {_LATEST.format(goal=', goal')} AS latest"
    " FROM conversions JOIN enrollments USING (workspace, profile, campaign, event_uid)"
    f" WHERE {_CAMPAIGN}) AS c WHERE latest GROUP BY 1, 2"
)
# Who was given several arms before she turned out to be one person counts for the first.
_FIRST = (
    "WITH first AS (SELECT DISTINCT ON (profile) profile, variant, split FROM assignments AS a"
    f" WHERE {_CAMPAIGN} AND EXISTS (SELECT 1 FROM enrollments AS e"
    " WHERE e.workspace = a.workspace AND e.profile = a.profile AND e.campaign = a.campaign)"
    " ORDER BY profile, assign_time, member) "
)
_PEOPLE = _FIRST + "SELECT split, variant, count(*) AS count FROM first GROUP BY 1, 2"
_CONVERTED = (
    _FIRST + "SELECT f.split, f.variant, c.goal, count(DISTINCT c.profile) AS count"
    " FROM first AS f JOIN conversions AS c ON c.workspace = $1 AND c.campaign = $2"
    " AND c.profile = f.profile JOIN enrollments AS e ON e.workspace = c.workspace"
    " AND e.profile = c.profile AND e.campaign = c.campaign AND e.event_uid = c.event_uid"
    " AND e.variant = f.variant GROUP BY 1, 2, 3"
)


class ReportStore:
    """Counts passages, as far back as they are kept."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def tallies(self, workspace: str, campaign: str) -> Tallies:
        """Return what became of a campaign's passages, all of one moment."""
        async with self._database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

            async def count(query: str) -> list[Record]:
                return await connection.fetch(query, workspace, campaign)

            return Tallies(
                _arms(await count(_PASSAGES), await count(_EXITS), await count(_GOALS)),
                _samples(await count(_PEOPLE), await count(_CONVERTED)),
            )


def _arms(
    passages: Iterable[Record], exits: Iterable[Record], goals: Iterable[Record]
) -> dict[str, ArmCounts]:
    exits_of: dict[str, dict[str, int]] = defaultdict(dict)
    for row in exits:
        exits_of[row["variant"]][row["gate"]] = row["count"]
    goals_of: dict[str, dict[str, GoalCounts]] = defaultdict(dict)
    for row in goals:
        counts = GoalCounts(row["profiles"], row["passages"], row["value"])
        goals_of[row["variant"]][row["goal"]] = counts
    return {
        row["variant"]: ArmCounts(
            row["entries"],
            row["profiles"],
            row["sent"],
            row["waiting"],
            exits_of[row["variant"]],
            goals_of[row["variant"]],
        )
        for row in passages
    }


def _samples(people: Iterable[Record], converted: Iterable[Record]) -> tuple[Sample, ...]:
    goals: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in converted:
        goals[row["split"], row["variant"]][row["goal"]] = row["count"]
    return tuple(
        Sample(row["split"], row["variant"], row["count"], goals[row["split"], row["variant"]])
        for row in people
    )
