"""Traits in a turn: what events and time make of the values of the people they are about.

Nothing is locked and nothing written until `write`: as everything in a turn, it
stands on the version of the person, which the caller reads before and writes before.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from mesh.postgres import Connection
from services.profile.convert.candidates import Candidate
from services.profile.convert.traits import revise_values
from services.profile.model.people import Event, PersonKey
from services.profile.model.traits import Trait
from services.profile.rules import traits as rules
from services.profile.store.definitions import Edition
from services.profile.store.rows import columns
from services.profile.store.traits.counting import Count, Place, Wanted, place_of
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
    stood: Mapping[Place, str] = {}  # never changed in place
    """Values just after each of the events asked about, of people whom the turn counted for."""


async def advance(
    db: Connection,
    edition: Edition,
    kept: Iterable[Event],
    persons: Mapping[PersonKey, PersonKey],
    zones: Mapping[PersonKey, str],
    now_us: int,
    *,
    moved: Collection[PersonKey] = (),
    stood: Iterable[Event] = (),
) -> Advance:
    """Return what the events that were kept make of the traits of their people.

    `kept` has each person's events in order, `stood` those just after which to tell the
    values. `persons` names the person of an id that is not its own, `zones` the zone of
    each person. Of those who `moved`, to another zone or other ids, all traits are looked at.
    """
    kept = list(kept)
    wanted = _wanted(edition, kept, persons)
    subjects = {(one.person, one.trait) for one in wanted}
    subjects |= {(one, trait) for one in moved for trait in edition.traits.get(one[0], ())}
    states = States()
    await states.read(db, subjects)
    missing = _missing(states, wanted)
    past = await _past(db, missing, wanted) if missing else []
    count = Count(states, zones, now_us)
    count.take(past)
    at = {place_of(event): persons.get(event.person, event.person) for event in stood}
    passing = count.walk(
        kept, wanted, {place: one for place, one in at.items() if one not in moved}
    )
    counted = count.finish()
    anew = [subject for subject in subjects if subject in counted or subject[0] in moved]
    before = await _values(db, {person for person, _ in anew} | {*moved})
    advanced = _revalue(states, anew, zones, now_us, before, whole=moved)
    return advanced._replace(
        stood={
            place: revise_values(before.get(at[place], _EMPTY), revised, whole=False)[0]
            for place, revised in passing.items()
        }
    )


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
    before = await _values(db, {person for person, _ in subjects} | {*whole})
    return _revalue(states, subjects, zones, now_us, before, whole=whole)


async def _values(db: Connection, people: Collection[PersonKey]) -> dict[PersonKey, str]:
    rows = await db.fetch(_VALUES, *columns(list(people), 2)) if people else []
    return {(row[0], row[1]): row[2] for row in rows}


def _revalue(
    states: States,
    subjects: Sequence[Subject],
    zones: Mapping[PersonKey, str],
    now_us: int,
    before: Mapping[PersonKey, str],
    *,
    whole: Collection[PersonKey],
) -> Advance:
    by_person: defaultdict[PersonKey, list[Trait]] = defaultdict(list)
    for person, trait in subjects:
        by_person[person].append(trait)
    for person in whole:
        by_person.setdefault(person, [])
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
    present = {place_of(one.candidate.event) for one in wanted}
    asked = {(*key, one.trait.event_type) for key, found in missing.items() for one in found}
    past: list[Wanted] = []
    async for event in read_history(db, asked):
        if place_of(event) not in present:
            candidate = Candidate(event)
            subjects = {(one.person, one.trait) for one in missing[event.person]}
            past.extend(
                Wanted(person, trait, candidate)
                for person, trait in subjects
                if trait.event_type == event.type
            )
    return past
