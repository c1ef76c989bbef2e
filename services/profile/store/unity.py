"""Uniting and parting people: all that is theirs follows, in one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mesh.postgres import Connection
from services.profile.convert.identities import told_united
from services.profile.convert.moments import micros
from services.profile.model import PersonKey, Touched
from services.profile.model.persons import Person, Renaming
from services.profile.rules.watching import successions
from services.profile.store import devices, identities, persons, segments, traits, watches
from services.profile.store.definitions import Edition
from services.profile.store.derived_events import owe


async def change(
    db: Connection, renamings: Sequence[Renaming], edition: Edition, now: datetime
) -> None:
    """Unite or part people, with all that follows from it.

    Raises:
        Aborted: Somebody else has written one of the people meanwhile.
    """
    now_us = micros(now)
    await carry_over(db, renamings)
    after = [person for renaming in renamings for person in renaming.after]
    zones = {
        person.key: person.profile.facts.time_zone
        for person in after
        if person.key[0] in edition.traits
    }
    advanced = await traits.refresh(db, edition, zones, now_us)
    await settle(db, with_traits(renamings, advanced.values), now)
    await traits.write(db, advanced)
    await watches.tell(db, successions(renamings), edition.watched, now_us)
    touched = [Touched(person.key, anything=True) for person in after]
    await segments.reevaluate(db, touched, edition, now_us)


async def carry_over(db: Connection, renamings: Sequence[Renaming]) -> None:
    """Let all that is kept by person follow the ids it was recorded under.

    Raises:
        Aborted: Somebody else has written one of the people meanwhile.
    """
    # In one order, for all at once: who changes what hangs on a person holds her first.
    await persons.hold(db, [person for renaming in renamings for person in renaming.before])
    for renaming in renamings:
        for person in renaming.after:
            workspace, name = person.key
            await devices.reassign(db, workspace, person.ids, name)
            await traits.reassign(db, workspace, person.ids, name)
        for key in {one.key for one in renaming.before} - {one.key for one in renaming.after}:
            await segments.forget(db, *key)


async def settle(db: Connection, renamings: Sequence[Renaming], now: datetime) -> None:
    """Write people under their new names, with their edges, and owe the log the news.

    Raises:
        Aborted: Somebody else has written one of them meanwhile.
    """
    for renaming in renamings:
        await persons.rename(db, renaming.before, renaming.after, now)
        before = {person.key: person for person in renaming.before}
        await identities.follow(db, renaming.after, before)
        name = renaming.after[0].key[1]
        await identities.add_edges(db, [(name, union.edge) for union in renaming.unions])
        await owe(db, [told_united(union) for union in renaming.unions])


def with_traits(renamings: Sequence[Renaming], values: Mapping[PersonKey, str]) -> list[Renaming]:
    """Return the people with these traits."""
    return [
        renaming._replace(after=[valued(person, values) for person in renaming.after])
        for renaming in renamings
    ]


def valued(person: Person, values: Mapping[PersonKey, str]) -> Person:
    """Return the person with her traits, where there are new ones."""
    text = values.get(person.key)
    if text is None:
        return person
    return person._replace(profile=person.profile._replace(traits=text))
