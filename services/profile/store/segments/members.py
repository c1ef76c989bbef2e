"""Who is in a segment, and how one person stands to it."""

from collections.abc import Sequence
from typing import Any

from mesh.postgres import Database
from services.profile.convert.predicates import compile_filter, conditions
from services.profile.model import PersonKey
from services.profile.model.memberships import ConditionAnswer, Membership
from services.profile.model.segments import Binding
from services.profile.store.holding import find

_COLUMNS = "m.member, m.transition, m.enter_us, m.exit_us, m.due_us"
_LIST = f"""
SELECT m.person_id, {_COLUMNS} FROM segment_members AS m
WHERE m.workspace = $1 AND m.segment_key = $2 AND m.person_id > $3 AND m.member
ORDER BY m.person_id LIMIT $4
"""  # noqa: S608 — put together from constants
_GET = f"""
SELECT {_COLUMNS} FROM segment_members AS m
WHERE m.workspace = $1 AND m.person_id = $2 AND m.segment_key = $3
"""  # noqa: S608 — put together from constants


class Members:
    """Reads memberships."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._database = database

    async def list_after(
        self, workspace: str, segment_key: int, person_id: str, *, limit: int
    ) -> list[tuple[str, Membership]]:
        """Return the next members by id."""
        async with self._database.connection() as db:
            rows = await db.fetch(_LIST, workspace, segment_key, person_id, limit)
        return [(row[0], Membership(*row[1:])) for row in rows]

    async def find(self, key: PersonKey) -> PersonKey | None:
        """Return the name that the person of an id goes by; None: there is nobody."""
        async with self._database.connection() as db:
            belonging = (await find(db, [key]))[key]
        return belonging.key if belonging.is_known else None

    async def get(self, person: PersonKey, segment_key: int) -> Membership:
        """Return how a person stands to a segment."""
        async with self._database.connection() as db:
            row = await db.fetchrow(_GET, *person, segment_key)
        return Membership() if row is None else Membership(*row)

    async def explain(
        self, person: PersonKey, source: str, now_us: int
    ) -> tuple[list[ConditionAnswer], int | None]:
        """Return what each condition of a filter says now, and when time may change the whole."""
        leaves = conditions(source)
        binding = Binding(now_us, first=3)
        asked = [compile_filter(leaf).add_to(binding) for leaf in leaves]
        asked.append(compile_filter(source).add_due_to(binding))
        row = await self._ask(person, asked, binding)
        answers = [
            ConditionAnswer(leaf, holds) for leaf, holds in zip(leaves, row[:-1], strict=True)
        ]
        return answers, row[-1]

    async def _ask(
        self, person: PersonKey, asked: Sequence[str], binding: Binding
    ) -> Sequence[Any]:
        async with self._database.connection() as db:
            row = await db.fetchrow(
                f"SELECT {', '.join(asked)} FROM profiles AS p"  # noqa: S608 — values are parameters
                " WHERE p.workspace = $1 AND p.profile_id = $2",
                *person,
                *binding.parameters,
            )
        return [None] * len(asked) if row is None else list(row)
