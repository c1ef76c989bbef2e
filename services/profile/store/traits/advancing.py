"""Traits in a turn: what events and time make of the values of the people they are about.

Nothing is locked and nothing written until `write`: as everything in a turn, it
stands on the version of the person, which the caller reads before and writes before.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from mesh.postgres import Connection
from services.profile.convert.candidates import Candidate
from services.profile.convert.traits import revise_values
from services.profile.model.people import Event, PersonKey
from services.profile.model.traits import Trait
from services.profile.rules import traits as rules
from services.profile.store.definitions import Edition
from services.profile.store.rows import columns
from services.profile.store.traits.states import States, Subject, read_history

_VALUES = """
SELECT p.workspace, p.profile_id, p.traits
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
"""
_CURRENT = """
SELECT p.workspace, p.profile_id, p.traits, COALESCE(d.due_us <= $3, false)
FROM unnest($1::text[], $2::text[]) AS w (workspace, profile_id)
JOIN profiles AS p USING (workspace, profile_id)
LEFT JOIN trait_dues AS d ON d.workspace = p.workspace AND d.person_id = p.profile_id
"""
# Earlier than needed does no harm: then the person is looked at and due again later. So most
# events leave it alone.
_HASTEN = """
INSERT INTO trait_dues AS d (workspace, person_id, due_us)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (workspace, person_id) DO UPDATE SET due_us = EXCLUDED.due_us
WHERE d.due_us > EXCLUDED.due_us
"""
_SCHEDULE = """
INSERT INTO trait_dues AS d (workspace, person_id, due_us)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (workspace, person_id) DO UPDATE SET due_us = EXCLUDED.due_us
WHERE d.due_us <> EXCLUDED.due_us
"""
_UNSCHEDULE = """
DELETE FROM trait_dues AS d USING unnest($1::text[], $2::text[]) AS w (workspace, person_id)
WHERE d.workspace = w.workspace AND d.person_id = w.person_id
"""
_EMPTY = "{}"

Place: TypeAlias = tuple[int, int, str, int]


class Wanted(NamedTuple):
    """An event that a trait wants, and whose it is."""

    person: PersonKey
    trait: Trait
    candidate: Candidate


class Advance(NamedTuple):
    """What events or time made of people's traits; written by `write`."""

    values: Mapping[PersonKey, str]
    """`profiles.traits` of those whose values changed: to be written with the person."""
    changed: Mapping[PersonKey, frozenset[str]]
    """Which of them, `<id>_previous` among them: what `Touched.traits` is to hold."""
    states: States
    hastened: Mapping[PersonKey, int]
    scheduled: Mapping[PersonKey, int | None]
    """When to look at a person again: at the latest, or (all traits looked at) exactly."""


async def advance(
    db: Connection,
    edition: Edition,
    kept: Iterable[Event],
    persons: Mapping[PersonKey, PersonKey],
    zones: Mapping[PersonKey, str],
    now_us: int,
    *,
    moved: Collection[PersonKey] = (),
) -> Advance:
    """Return what the events that were kept make of the traits of their people.

    `persons` names the person of an id that is not its own, `zones` the zone of each
    person. Of those who `moved`, to another zone or other ids, all traits are looked at.
    """
    wanted = _wanted(edition, kept, persons)
    subjects = {(one.person, one.trait) for one in wanted}
    subjects |= {(one, trait) for one in moved for trait in edition.traits.get(one[0], ())}
    states = States()
    await states.read(db, subjects)
    missing = _missing(states, wanted)
    past = await _past(db, missing, wanted) if missing else []
    counted = _count(states, [*past, *wanted], zones, now_us)
    anew = [subject for subject in subjects if subject in counted or subject[0] in moved]
    return await revalue(db, states, anew, zones, now_us, whole=moved)


async def refresh(
    db: Connection, edition: Edition, zones: Mapping[PersonKey, str], now_us: int
) -> Advance:
    """Return the traits anew of people who moved: to another zone, or to other ids."""
    return await advance(db, edition, (), {}, zones, now_us, moved=zones.keys())


async def write(db: Connection, advanced: Advance) -> None:
    """Write what is kept to reckon the values; the values themselves go with the person.

    After the person is written, never before: whoever else changes states holds the
    person first, and two that take the same locks in another order stop each other.

    Raises:
        Aborted: Somebody else was faster.
    """
    await advanced.states.write(db)
    for query, dues in ((_HASTEN, advanced.hastened), (_SCHEDULE, advanced.scheduled)):
        rows = [(*key, due) for key, due in sorted(dues.items()) if due is not None]
        if rows:
            await db.execute(query, *columns(rows, 3))
    never = sorted(key for key, due in advanced.scheduled.items() if due is None)
    if never:
        await db.execute(_UNSCHEDULE, *columns(never, 2))


async def values(
    db: Connection, edition: Edition, zones: Mapping[PersonKey, str], now_us: int
) -> dict[PersonKey, str]:
    """Return the traits of those of the people who are known, as JSON, as of now."""
    asked = [person for person in zones if edition.traits.get(person[0])]
    if not asked:
        return {}
    rows = await db.fetch(_CURRENT, *columns(asked, 2), now_us)
    found = {(row[0], row[1]): row[2] for row in rows}
    stale = {(row[0], row[1]): zones[row[0], row[1]] for row in rows if row[3]}
    if stale:
        found.update((await refresh(db, edition, stale, now_us)).values)
    return found


async def revalue(
    db: Connection,
    states: States,
    subjects: Sequence[Subject],
    zones: Mapping[PersonKey, str],
    now_us: int,
    *,
    whole: Collection[PersonKey] = (),
) -> Advance:
    """Return the values that follow from the states; of `whole`, only these subjects have any."""
    by_person: defaultdict[PersonKey, list[Trait]] = defaultdict(list)
    for person, trait in subjects:
        by_person[person].append(trait)
    for person in whole:
        by_person.setdefault(person, [])
    rows = await db.fetch(_VALUES, *columns(list(by_person), 2)) if by_person else []
    before = {(row[0], row[1]): row[2] for row in rows}
    after: dict[PersonKey, str] = {}
    changed: dict[PersonKey, frozenset[str]] = {}
    dues: dict[PersonKey, int | None] = {}
    for person, traits in by_person.items():
        zone = rules.known_zone(zones.get(person, ""))
        theirs = {trait: list(states.of(person, trait).values()) for trait in traits}
        said = {trait: rules.value(trait, found, zone, now_us) for trait, found in theirs.items()}
        text, keys = revise_values(before.get(person, _EMPTY), said, whole=person in whole)
        if keys:
            after[person], changed[person] = text, keys
        upcoming = (rules.due(trait, found, zone, now_us) for trait, found in theirs.items())
        dues[person] = min((due for due in upcoming if due is not None), default=None)
    hastened = {key: due for key, due in dues.items() if due is not None and key not in whole}
    return Advance(after, changed, states, hastened, {key: dues[key] for key in whole})


def _wanted(
    edition: Edition, kept: Iterable[Event], persons: Mapping[PersonKey, PersonKey]
) -> list[Wanted]:
    by_type: dict[str, Mapping[str, Sequence[Trait]]] = {}
    wanted: list[Wanted] = []
    for event in kept:
        workspace = event.workspace
        if workspace not in by_type:
            by_type[workspace] = _by_type(edition.traits.get(workspace, ()))
        traits = by_type[workspace].get(event.type)
        if traits:
            candidate, person = Candidate(event), persons.get(event.person, event.person)
            wanted.extend(Wanted(person, trait, candidate) for trait in traits)
    return wanted


def _by_type(traits: Iterable[Trait]) -> Mapping[str, Sequence[Trait]]:
    found: defaultdict[str, list[Trait]] = defaultdict(list)
    for trait in traits:
        found[trait.event_type].append(trait)
    return found


def _missing(states: States, wanted: Iterable[Wanted]) -> dict[PersonKey, list[Wanted]]:
    """Return by id what is to be reckoned from its history: the backfill was not there yet."""
    missing: defaultdict[PersonKey, list[Wanted]] = defaultdict(list)
    for one in wanted:
        member = one.candidate.event.person
        if one.trait.backfilling and member[1] not in states.of(one.person, one.trait):
            missing[member].append(one)
    return missing


async def _past(
    db: Connection, missing: Mapping[PersonKey, Sequence[Wanted]], wanted: Iterable[Wanted]
) -> list[Wanted]:
    # The events of this turn may be in the history already, or not yet.
    present = {_place(one.candidate.event) for one in wanted}
    asked = {(*key, one.trait.event_type) for key, found in missing.items() for one in found}
    past: list[Wanted] = []
    async for event in read_history(db, asked):
        if _place(event) not in present:
            candidate = Candidate(event)
            subjects = {(one.person, one.trait) for one in missing[event.person]}
            past.extend(
                Wanted(person, trait, candidate)
                for person, trait in subjects
                if trait.event_type == event.type
            )
    return past


def _place(event: Event) -> Place:
    return event.receive_us, event.log_partition, event.log_position, event.log_index


def _count(
    states: States, wanted: Iterable[Wanted], zones: Mapping[PersonKey, str], now_us: int
) -> set[Subject]:
    """Take the events into the states; return whose states of which traits changed."""
    touched = set()
    for person, trait, candidate in wanted:
        zone = zones.get(person, "")
        if count_one(states, person, trait, candidate, zone):
            touched.add((person, trait, candidate.event.profile_id))
    for person, trait, member_id in touched:
        rules.prune(trait, states.of(person, trait)[member_id], now_us)
    return {(person, trait) for person, trait, _ in touched}


def count_one(
    states: States, person: PersonKey, trait: Trait, candidate: Candidate, zone: str
) -> bool:
    """Take one event into the state of its id; return whether it counts."""
    if not candidate.matches(trait):
        return False
    event = candidate.event
    before = states.of(person, trait).get(event.profile_id)
    properties = candidate.properties_for(trait)
    after = rules.take(trait, before, event, properties, time_zone=rules.known_zone(zone))
    if after is None:
        return False
    states.put(person, trait, event.profile_id, after)
    return True
