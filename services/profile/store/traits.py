"""Traits: their definitions, what is kept to reckon them, and their values."""

from collections import defaultdict
from collections.abc import Mapping

import asyncpg

from mesh.postgres import Connection
from services.profile.model.traits import Aggregate, Calendar, Rolling, Trait, TraitState, Window

_LOAD = """
SELECT workspace, trait_id, event_type, aggregate, property, filter, rolling_us, calendar, compare,
    backfill, state
FROM traits WHERE state <> 3 ORDER BY workspace, trait_id
"""


async def load_traits(db: Connection) -> Mapping[str, tuple[Trait, ...]]:
    """Return the traits of all workspaces."""
    traits: defaultdict[str, list[Trait]] = defaultdict(list)
    for row in await db.fetch(_LOAD):
        traits[row[0]].append(trait_of(row))
    return {workspace: tuple(found) for workspace, found in traits.items()}


def trait_of(row: asyncpg.Record) -> Trait:
    """Return the trait in a row."""
    return Trait(
        workspace=row["workspace"],
        trait_id=row["trait_id"],
        event_type=row["event_type"],
        aggregate=Aggregate(row["aggregate"]),
        property=row["property"],
        filter=row["filter"],
        window=_window(row["rolling_us"], row["calendar"]),
        compare=row["compare"],
        backfill=row["backfill"],
        backfilling=row["state"] == TraitState.BACKFILLING,
    )


def _window(rolling_us: int, calendar: int) -> Window | None:
    if rolling_us:
        return Rolling(rolling_us)
    return Calendar(calendar) if calendar else None
