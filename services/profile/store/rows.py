"""How a person stands in a row."""

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType

import asyncpg
import msgspec

from services.profile.model import Counter, Facts, Profile
from services.profile.model.persons import NEVER, Person, Recorded

PROFILE_COLUMNS = """
p.workspace, p.profile_id, p.version, p.first_seen_us, p.last_seen_us,
p.email, p.phone, p.time_zone, p.locale, p.attributes, p.counters, p.attribute_times, p.traits
"""
KNOWN_COLUMNS = f"{PROFILE_COLUMNS}, p.create_time, p.update_time"
PERSON_COLUMNS = f"{KNOWN_COLUMNS}, p.member_ids, p.merged_into"
# For who does not ask when: two times cost as much as all the rest to take apart.
UNDATED_COLUMNS = f"""
{PROFILE_COLUMNS}, NULL::timestamptz, NULL::timestamptz, p.member_ids, p.merged_into
"""
CONTRIBUTION_COLUMNS = """
c.workspace, c.person_id, c.member_id, c.first_seen_us, c.last_seen_us,
c.email, c.phone, c.time_zone, c.locale, c.attributes, c.counters, c.attribute_times, c.create_time
"""

_NOTHING: Mapping[str, Recorded] = MappingProxyType({})
_COUNTERS = msgspec.json.Decoder(dict[str, Counter])
_JSON = msgspec.json.Encoder()


def person_of(row: asyncpg.Record) -> Person:
    """Return the person in a row of `PERSON_COLUMNS`, without contributions."""
    # All at once: column by column costs a third more.
    (
        workspace,
        profile_id,
        version,
        first_us,
        last_us,
        email,
        phone,
        time_zone,
        locale,
        attributes,
        counters,
        times,
        traits,
        create_time,
        update_time,
        member_ids,
        _,
    ) = row
    facts = Facts(attributes, email, phone, time_zone, locale, times)
    return Person(
        (workspace, profile_id),
        Profile(version, facts, _COUNTERS.decode(counters), first_us, last_us, traits),
        tuple(member_ids),
        _NOTHING,
        create_time or NEVER,
        update_time or NEVER,
    )


def merged_into(row: asyncpg.Record) -> str:
    """Return under which id a row of `PERSON_COLUMNS` is to be read; '': its own."""
    name: str = row[16]
    return name


def recorded_of(row: asyncpg.Record) -> Recorded:
    """Return what was recorded under one id, in a row of `CONTRIBUTION_COLUMNS`."""
    facts = Facts(row[9], row[5], row[6], row[7], row[8], row[11])
    return Recorded(Profile(0, facts, _COUNTERS.decode(row[10]), row[3], row[4]), row[12])


def counts_of(profile: Profile) -> tuple[object, ...]:
    """Return what counting changes: first and last seen, counters."""
    counters = _JSON.encode(profile.counters).decode()
    return profile.first_seen_us, profile.last_seen_us, counters


def facts_of(facts: Facts) -> tuple[object, ...]:
    """Return what a write of attributes and addresses changes."""
    return facts.email, facts.phone, facts.time_zone, facts.locale, facts.attributes, facts.times


def columns(rows: Collection[tuple[object, ...]], width: int) -> Sequence[list[object]]:
    """Return the values column by column, as `unnest` takes them."""
    return [list(map(itemgetter(at), rows)) for at in range(width)]
