"""How a person stands in a row."""

from collections.abc import Collection, Sequence
from operator import itemgetter

import asyncpg
import msgspec

from mesh.postgres import Connection
from services.profile.model import Counter, Facts, Known, PersonKey, Profile

PROFILE_COLUMNS = """
p.workspace, p.profile_id, p.version, p.first_seen_us, p.last_seen_us,
p.email, p.phone, p.time_zone, p.locale, p.attributes, p.counters
"""
KNOWN_COLUMNS = f"{PROFILE_COLUMNS}, p.create_time, p.update_time"

_COUNTERS = msgspec.json.Decoder(dict[str, Counter])
_READ = f"""
SELECT {PROFILE_COLUMNS} FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""  # noqa: S608 — put together from constants


def profile_of(row: asyncpg.Record) -> Profile:
    """Return the person in a row of `PROFILE_COLUMNS`."""
    facts = Facts(row[9], row[5], row[6], row[7], row[8])
    return Profile(row[2], facts, _COUNTERS.decode(row[10]), row[3], row[4])


def known_of(row: asyncpg.Record) -> Known:
    """Return the person in a row of `KNOWN_COLUMNS`."""
    return Known((row[0], row[1]), profile_of(row), row[11], row[12])


async def read_profiles(
    db: Connection, people: Collection[PersonKey], *, lock: str = ""
) -> dict[PersonKey, Profile]:
    """Return those of the people who are known; `lock` ends the query."""
    if not people:
        return {}
    rows = await db.fetch(_READ + lock, *columns(people, 2))
    return {(row[0], row[1]): profile_of(row) for row in rows}


def columns(rows: Collection[tuple[object, ...]], width: int) -> Sequence[list[object]]:
    """Return the values column by column, as `unnest` takes them."""
    return [list(map(itemgetter(at), rows)) for at in range(width)]
