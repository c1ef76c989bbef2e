"""People as the books have them: one row each, whatever number of ids they go under."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.profile.model import PersonKey
from services.profile.model.persons import NEVER, Person, Recorded
from services.profile.store.rows import (
    CONTRIBUTION_COLUMNS,
    PERSON_COLUMNS,
    UNDATED_COLUMNS,
    columns,
    counts_of,
    facts_of,
    merged_into,
    person_of,
    recorded_of,
)

_ASKED = """
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""
_READ = f"SELECT {PERSON_COLUMNS} {_ASKED}"
_READ_UNDATED = f"SELECT {UNDATED_COLUMNS} {_ASKED}"
# In a fixed order: two who hold people then wait for each other in a line.
_HOLD = f"{_READ} ORDER BY p.workspace, p.profile_id FOR NO KEY UPDATE OF p"
_CONTRIBUTIONS = f"""
SELECT {CONTRIBUTION_COLUMNS} FROM unnest($1::text[], $2::text[]) AS w (workspace, person_id)
JOIN contributions AS c USING (workspace, person_id)
"""  # noqa: S608 — put together from constants
_CREATE = """
INSERT INTO profiles (workspace, profile_id, version, first_seen_us, last_seen_us, counters,
    email, phone, time_zone, locale, attributes, attribute_times, traits, shard, create_time,
    update_time)
SELECT *, $15::timestamptz, $15::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::jsonb[],
    $14::smallint[])
ON CONFLICT DO NOTHING
"""
_COUNT = """
UPDATE profiles AS p SET version = w.version, first_seen_us = w.first_seen_us,
    last_seen_us = w.last_seen_us, counters = w.counters, update_time = $7::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id AND p.version = w.version - 1
"""
# One statement for all, in one order: two who share people never wait for each other in a ring.
_CHANGE = """
UPDATE profiles AS p SET version = w.version, first_seen_us = w.first_seen_us,
    last_seen_us = w.last_seen_us, counters = w.counters,
    email = COALESCE(w.email, p.email), phone = COALESCE(w.phone, p.phone),
    time_zone = COALESCE(w.time_zone, p.time_zone), locale = COALESCE(w.locale, p.locale),
    attributes = COALESCE(w.attributes, p.attributes),
    attribute_times = COALESCE(w.attribute_times, p.attribute_times),
    traits = COALESCE(w.traits, p.traits), update_time = $14::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::jsonb[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters,
        email, phone, time_zone, locale, attributes, attribute_times, traits)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id AND p.version = w.version - 1
"""
_CONTRIBUTE = """
INSERT INTO contributions AS c (workspace, person_id, member_id, first_seen_us, last_seen_us,
    counters, email, phone, time_zone, locale, attributes, attribute_times, create_time)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::timestamptz[])
ON CONFLICT (workspace, person_id, member_id) DO UPDATE SET
    first_seen_us = excluded.first_seen_us, last_seen_us = excluded.last_seen_us,
    counters = excluded.counters, email = excluded.email, phone = excluded.phone,
    time_zone = excluded.time_zone, locale = excluded.locale, attributes = excluded.attributes,
    attribute_times = excluded.attribute_times
"""
_FORGET_CONTRIBUTIONS = """
DELETE FROM contributions AS c USING unnest($1::text[], $2::text[]) AS w (workspace, person_id)
WHERE c.workspace = w.workspace AND c.person_id = w.person_id
"""
_RENAME_NEW = """
INSERT INTO profiles (workspace, profile_id, version, first_seen_us, last_seen_us, counters,
    email, phone, time_zone, locale, attributes, attribute_times, traits, member_ids, merged_into,
    create_time, shard, update_time)
SELECT workspace, profile_id, version, first_seen_us, last_seen_us, counters,
    email, phone, time_zone, locale, attributes, attribute_times, traits,
    string_to_array(member_ids, ','), merged_into, create_time, shard, $18::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::jsonb[],
    $14::text[], $15::text[], $16::timestamptz[], $17::smallint[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters, email, phone,
        time_zone, locale, attributes, attribute_times, traits, member_ids, merged_into,
        create_time, shard)
ON CONFLICT DO NOTHING
"""
_RENAME = """
UPDATE profiles AS p SET version = w.version, first_seen_us = w.first_seen_us,
    last_seen_us = w.last_seen_us, counters = w.counters, email = w.email, phone = w.phone,
    time_zone = w.time_zone, locale = w.locale, attributes = w.attributes,
    attribute_times = w.attribute_times, traits = w.traits,
    member_ids = string_to_array(w.member_ids, ','), merged_into = w.merged_into,
    create_time = w.create_time, update_time = $18::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::jsonb[],
    $14::text[], $15::text[], $16::timestamptz[], $17::bigint[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters, email, phone,
        time_zone, locale, attributes, attribute_times, traits, member_ids, merged_into,
        create_time, expected)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id
    AND (w.expected < 0 OR p.version = w.expected)
"""

# Between finding a name and reading who bears it, somebody may unite or part people; that happens
# to one person again only by more calls at the same instant.
_ATTEMPTS_MAX = 10
_UNCHECKED = -1
# What stays as it is needs not be sent.
_SAME = (None,) * 6


async def load(
    db: Connection,
    asked: Collection[PersonKey],
    *,
    lock: bool = False,
    contributions: bool = True,
    dated: bool = True,
) -> dict[PersonKey, Person]:
    """Return those who are known, by the key asked about; two ids of one person give the same.

    With `lock` they are held until the transaction ends; without it `write` notices who
    was faster. Times that are not asked for are `NEVER`; only `rename` needs them.

    Raises:
        Aborted: People were united or parted meanwhile. Begin anew.
    """
    if not asked:
        return {}
    people: dict[PersonKey, Person] = {}
    pointers: dict[PersonKey, PersonKey] = {}
    query = _READ if dated else _READ_UNDATED
    for row in await db.fetch(query, *columns(asked, 2)):
        name = merged_into(row)
        if name:
            pointers[row[0], row[1]] = (row[0], name)
        else:
            person = person_of(row)
            people[person.key] = person
    if lock:
        people = await _named(db, people.keys() | set(pointers.values()), _HOLD)
    elif pointers:
        people |= await _named(db, set(pointers.values()) - people.keys(), query)
    for key, name_key in pointers.items():
        named = people.get(name_key)
        if named is None or key[1] not in named.member_ids:
            raise _faster()
        people[key] = named
    united = {person.key: person for person in people.values() if person.member_ids}
    if united and contributions:
        whole = await _with_contributions(db, united)
        people = {key: whole.get(one.key, one) for key, one in people.items()}
    # Names that only pointers led to were not asked for.
    return {key: people[key] for key in asked if key in people} if pointers else people


async def hold(db: Connection, people: Iterable[Person]) -> None:
    """Hold people that were read until the transaction ends.

    Raises:
        Aborted: Somebody else has written one of them meanwhile.
    """
    versions = {one.key: one.profile.version for one in people if one.profile.version}
    held = await _named(db, versions.keys(), _HOLD)
    if any(held[key].profile.version != version for key, version in versions.items()):
        raise _faster()


async def read(
    database: Database, asked: Collection[PersonKey], *, contributions: bool = False
) -> dict[PersonKey, Person]:
    """Return those who are known as they are now, for who only looks."""
    for _ in range(_ATTEMPTS_MAX - 1):
        try:
            async with database.connection() as db:
                return await load(db, asked, contributions=contributions)
        except Aborted:
            continue
    async with database.transaction() as db:
        return await load(db, asked, lock=True, contributions=contributions)


async def write(
    db: Connection, changes: Iterable[tuple[Person | None, Person]], now: datetime
) -> None:
    """Write what has become of people: each as read (None: was not there) and as they are now.

    Their ids are the same as before, and the version one greater than it was.

    Raises:
        Aborted: Somebody else has written one of them meanwhile.
    """
    created, changed = [], []
    contributed: list[tuple[object, ...]] = []
    only_counted = True
    # In a fixed order: two turns that share people then wait for each other in a line.
    for before, after in sorted(changes, key=lambda change: change[1].key):
        if before is None:
            created.append(_created_row(after))
            continue
        changed.append((before, after))
        was, profile = before.profile, after.profile
        if profile.facts is not was.facts or profile.traits is not was.traits:
            only_counted = False
        if after.contributions:
            contributed += _changed_contributions(before, after, now)
    await _write_all(db, _CREATE, created, 14, now)
    if only_counted:
        await _write_all(db, _COUNT, [_counted_row(after) for _, after in changed], 6, now)
    else:
        await _write_all(db, _CHANGE, [_changed_row(*change) for change in changed], 13, now)
    if contributed:
        await db.execute(_CONTRIBUTE, *columns(contributed, 13))


async def rename(
    db: Connection, before: Sequence[Person], after: Sequence[Person], now: datetime
) -> None:
    """Write people who were united or parted: the same ids as before, under other names.

    Raises:
        Aborted: Somebody else has written one of them meanwhile.
    """
    expected = {person.key: person.profile.version for person in before}
    created, changed = [], []
    contributed: list[tuple[object, ...]] = []
    for person in after:
        for member in person.ids:
            key = (person.key[0], member)
            row = _renamed_row(person, member, now)
            if expected.get(key) == 0:
                created.append((*row, shard_of(*key)))
            else:
                # Who only points to a name is guarded by the person of that name.
                changed.append((*row, expected.get(key, _UNCHECKED)))
        contributed += [
            _contribution_row(person.key, member, recorded, now)
            for member, recorded in person.contributions.items()
        ]
    changed.sort(key=lambda row: row[:2])
    await _write_all(db, _RENAME, changed, 17, now)
    await _write_all(db, _RENAME_NEW, created, 17, now)
    names = [person.key for person in before]
    await db.execute(_FORGET_CONTRIBUTIONS, *columns(names, 2))
    if contributed:
        await db.execute(_CONTRIBUTE, *columns(contributed, 13))


async def _named(
    db: Connection, names: Collection[PersonKey], query: str
) -> dict[PersonKey, Person]:
    if not names:
        return {}
    people: dict[PersonKey, Person] = {}
    for row in await db.fetch(query, *columns(names, 2)):
        if merged_into(row):
            raise _faster()
        people[row[0], row[1]] = person_of(row)
    if len(people) < len(names):
        raise _faster()
    return people


async def _with_contributions(
    db: Connection, united: Mapping[PersonKey, Person]
) -> dict[PersonKey, Person]:
    found: defaultdict[PersonKey, dict[str, Recorded]] = defaultdict(dict)
    for row in await db.fetch(_CONTRIBUTIONS, *columns(united, 2)):
        found[row[0], row[1]][row[2]] = recorded_of(row)
    for key, person in united.items():
        if found[key].keys() != set(person.member_ids):
            raise _faster()
    return {key: person._replace(contributions=found[key]) for key, person in united.items()}


async def _write_all(
    db: Connection, query: str, rows: Sequence[tuple[object, ...]], width: int, now: datetime
) -> None:
    if not rows:
        return
    status = await db.execute(query, *columns(rows, width), now)
    if int(status.rpartition(" ")[2]) != len(rows):
        raise _faster()


def _counted_row(person: Person) -> tuple[object, ...]:
    profile = person.profile
    return (*person.key, profile.version, *counts_of(profile))


def _created_row(person: Person) -> tuple[object, ...]:
    profile = person.profile
    shard = shard_of(*person.key)
    return (*_counted_row(person), *facts_of(profile.facts), profile.traits, shard)


def _changed_row(before: Person, after: Person) -> tuple[object, ...]:
    was, profile = before.profile, after.profile
    facts = _SAME if profile.facts is was.facts else facts_of(profile.facts)
    traits = None if profile.traits is was.traits else profile.traits
    return (*_counted_row(after), *facts, traits)


def _changed_contributions(
    before: Person, after: Person, now: datetime
) -> list[tuple[object, ...]]:
    return [
        _contribution_row(after.key, member, recorded, now)
        for member, recorded in after.contributions.items()
        if recorded is not before.contributions.get(member)
    ]


def _contribution_row(
    key: PersonKey, member: str, recorded: Recorded, now: datetime
) -> tuple[object, ...]:
    profile = recorded.profile
    row = (*key, member, *counts_of(profile), *facts_of(profile.facts))
    return (*row, _since(recorded.create_time, now))


def _renamed_row(person: Person, member: str, now: datetime) -> tuple[object, ...]:
    if member == person.key[1]:
        profile, create_time, name = person.profile, person.create_time, ""
        members = ",".join(person.member_ids)
    else:
        # What the row said is said by the contribution.
        profile, create_time = Person(person.key).profile, person.contributions[member].create_time
        members, name = "", person.key[1]
    return (
        person.key[0],
        member,
        person.profile.version,
        *counts_of(profile),
        *facts_of(profile.facts),
        profile.traits,
        members,
        name,
        _since(create_time, now),
    )


def _since(create_time: datetime, now: datetime) -> datetime:
    return now if create_time == NEVER else create_time


def _faster() -> Aborted:
    return Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")
