"""Uniting and parting people: all that is theirs follows, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from mesh.postgres import Connection
from services.profile.convert.identities import told_united
from services.profile.model.persons import Renaming
from services.profile.store import devices, identities, persons, segments, traits
from services.profile.store.derived_events import owe


async def carry_over(db: Connection, renamings: Sequence[Renaming]) -> None:
    """Let all that is kept by person follow the ids it was recorded under.

    Raises:
        Aborted: Somebody else has written one of the people meanwhile.
    """
    # In one order, for all at once: who changes what hangs on a person holds her first.
    await persons.hold(db, [person for renaming in renamings for person in renaming.before])
    for renaming in renamings:
        names = {person.key for person in renaming.after}
        for person in renaming.before:
            if person.key not in names:
                # Where she stands under her new name is looked at when all is written.
                await segments.forget(db, *person.key)
        for person in renaming.after:
            workspace, name = person.key
            await devices.reassign(db, workspace, person.ids, name)
            await traits.reassign(db, workspace, person.ids, name)


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
