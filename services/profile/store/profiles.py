"""People as callers ask for them and change them, and what each did."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from asyncpg import exceptions as driver
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh.errors import Aborted
from mesh.expressions import too_costly
from mesh.postgres import Connection, Database
from services.profile.convert.moments import micros
from services.profile.model import HistoryEntry, PersonKey, Touched
from services.profile.model.devices import Device
from services.profile.model.listings import Listing, Place
from services.profile.model.persons import Person
from services.profile.rules import Types
from services.profile.rules.identity import changed_keys
from services.profile.store import erasures, persons, segments, traits, watches
from services.profile.store.attributes import AttributeTypes
from services.profile.store.definitions import Definitions, Edition
from services.profile.store.devices import read_devices
from services.profile.store.rows import PERSON_COLUMNS, person_of

# Id by id: each gives its newest in the order of its index, and no more is read than is shown,
# however long the history is. The first condition on the time finds the weeks, the second the
# place within them.
_HISTORY = """
SELECT h.receive_us, h.log_index, h.event_uid, h.event_id, h.type, h.occur_us, h.properties
FROM unnest($2::text[]) AS m (id) CROSS JOIN LATERAL (
    SELECT * FROM history AS one
    WHERE one.workspace = $1 AND one.profile_id = m.id AND ($3 = '' OR one.type = $3)
        AND one.receive_us <= $4 AND (one.receive_us, one.log_index, one.event_uid) < ($4, $5, $6)
    ORDER BY one.receive_us DESC, one.log_index DESC, one.event_uid DESC LIMIT $7
) AS h
ORDER BY h.receive_us DESC, h.log_index DESC, h.event_uid DESC LIMIT $7
"""

# The first without locks, then with them.
_ATTEMPTS_MAX = 5

HistoryKey = tuple[int, int, UUID]
NEWEST: HistoryKey = (2**63 - 1, 2**31 - 1, UUID(int=2**128 - 1))

_T = TypeVar("_T")


class Writing:
    """One transaction that changes people as callers ask.

    In this order: types, people, then `write`.
    """

    def __init__(
        self, db: Connection, types: AttributeTypes, edition: Edition, now: datetime, *, lock: bool
    ) -> None:
        """Use `Profiles.run` instead."""
        self.db = db
        self.now = now
        self._types = types
        self._edition = edition
        self._lock = lock

    async def types(self, workspace: str, keys: Collection[str]) -> Types:
        """Return what these attributes take."""
        return (await self._types.read(self.db, {workspace: keys}))[workspace]

    async def people(
        self, asked: Collection[PersonKey], *, dated: bool = True
    ) -> dict[PersonKey, Person]:
        """Return those who are known, by the key asked about, with their times or without."""
        return await persons.load(self.db, asked, lock=self._lock, dated=dated)

    async def erased(self, people: Collection[PersonKey]) -> Mapping[PersonKey, UUID]:
        """Return by which erasure each of those people is refused who is."""
        if not people or not self._edition.has_erasures:
            return {}
        return await erasures.refused(self.db, people, self.now)

    async def write(
        self, changes: Collection[tuple[Person | None, Person]], workspace: str, types: Types
    ) -> None:
        """Write what has become of people of one workspace, and what follows from it.

        Raises:
            Aborted: Somebody else was faster. Begin anew.
        """
        if not changes:
            return
        before = [after.key for _, after in changes]
        await segments.note_before(self.db, before, self._edition, micros(self.now))
        advanced = await self._advance(changes, workspace)
        if advanced is not None:
            changes = [(before, _with_traits(after, advanced)) for before, after in changes]
        await persons.write(self.db, changes, self.now)
        if advanced is not None:
            await traits.write(self.db, advanced)
        await self._types.keep(self.db, {workspace: types}, self.now)
        created = [after.key for before, after in changes if before is None]
        version = self._edition.versions.get("erasures", 0)
        if await erasures.was_overtaken(self.db, created, erasures_version=version):
            raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "an erasure was faster")
        await watches.tell(self.db, changes, self._edition.watched, micros(self.now))
        if workspace not in self._edition.segments:
            return
        touched = [_touched(before, after, advanced) for before, after in changes]
        await segments.reevaluate(self.db, touched, self._edition, micros(self.now))

    async def _advance(
        self, changes: Collection[tuple[Person | None, Person]], workspace: str
    ) -> traits.Advance | None:
        """Return the traits of who moves to another zone, where it is another day."""
        moved = {
            after.key: after.profile.facts.time_zone
            for before, after in changes
            if before is not None and _moved(before, after)
        }
        if not moved or workspace not in self._edition.traits:
            return None
        return await traits.refresh(self.db, self._edition, moved, micros(self.now))


class Profiles:
    """Reads and changes people."""

    def __init__(
        self,
        database: Database,
        definitions: Definitions,
        types: AttributeTypes,
        *,
        longest: timedelta = timedelta(seconds=4),
    ) -> None:
        """Take the pool, what every change must know, and for how long a page is looked for."""
        self._database = database
        self._longest = longest
        self._definitions = definitions
        self._types = types

    async def get(self, asked: Collection[PersonKey]) -> dict[PersonKey, Person]:
        """Return those who are known, by the key asked about."""
        return await persons.read(self._database, asked)

    async def traits(self, people: Iterable[Person], now: datetime) -> dict[PersonKey, str]:
        """Return the traits of the people as of now, of those workspaces that have any."""
        zones = {person.key: person.profile.facts.time_zone for person in people}
        async with self._database.connection() as connection:
            edition = await self._definitions.current(connection)
            return await traits.values(connection, edition, zones, micros(now))

    async def devices(self, people: Collection[PersonKey]) -> dict[PersonKey, list[Device]]:
        """Return the devices of people, under the names that stay."""
        async with self._database.connection() as connection:
            return await read_devices(connection, people)

    async def page(self, listing: Listing, after: Place | None, *, limit: int) -> list[Person]:
        """Return the next people of a listing.

        Raises:
            InvalidArgument: `EXPRESSION_TOO_COSTLY`: they are too few among too many. Called
                unavailable, callers would make us look again.
        """
        query = _list_query(listing, begins=after is None)
        values = (listing.workspace, *listing.parameters, limit, *(after or ()))
        seconds = self._longest.total_seconds()
        async with self._database.transaction() as connection:
            await connection.execute(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
            try:
                rows = await connection.fetch(query, *values)
            except driver.QueryCanceledError:
                raise too_costly(listing.source, f"{seconds:g} s of looking") from None
        return [person_of(row) for row in rows]

    async def run(self, work: Callable[[Writing], Awaitable[_T]], now: datetime) -> _T:
        """Return what `work` returns, done in one transaction.

        It is done again, from the start, when another writer was faster.

        Raises:
            Aborted: Other writers were faster again and again.
        """
        for attempt in range(_ATTEMPTS_MAX):
            try:
                async with self._database.transaction() as db:
                    edition = await self._definitions.current(db)
                    lock = attempt > 0
                    return await work(Writing(db, self._types, edition, now, lock=lock))
            except Aborted as error:
                lost = error.reason == ErrorReason.ERROR_REASON_CONFLICT
                if not lost or attempt == _ATTEMPTS_MAX - 1:
                    raise
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "other writers were faster")

    async def history(
        self, key: PersonKey, kind: str, *, before: HistoryKey, limit: int
    ) -> list[HistoryEntry]:
        """Return what a person did under all ids, newest first, of one type or ('') of all."""
        known = (await self.get([key])).get(key)
        ids = known.ids if known is not None else (key[1],)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_HISTORY, key[0], ids, kind, *before, limit)
        return [HistoryEntry(*row) for row in rows]


def _moved(before: Person, after: Person) -> bool:
    return before.profile.facts.time_zone != after.profile.facts.time_zone


def _with_traits(person: Person, advanced: traits.Advance) -> Person:
    values = advanced.values.get(person.key)
    if values is None:
        return person
    return person._replace(profile=person.profile._replace(traits=values))


def _touched(before: Person | None, after: Person, advanced: traits.Advance | None) -> Touched:
    if before is None:
        return Touched(after.key, anything=True)
    keys = changed_keys(before.profile.facts, after.profile.facts)
    changed = advanced.changed.get(after.key) if advanced is not None else None
    return Touched(after.key, attributes=keys, traits=changed or frozenset())


def _list_query(listing: Listing, *, begins: bool) -> str:
    sign, direction = ("<", "DESC") if listing.descending else (">", "ASC")
    column, limit = f"p.{listing.column}", len(listing.parameters) + 2
    after = "" if begins else f"AND ({column}, p.profile_id) {sign} (${limit + 1}, ${limit + 2})"
    return f"""
SELECT {PERSON_COLUMNS} FROM profiles AS p
WHERE p.workspace = $1 AND p.merged_into = '' AND ({listing.condition}) {after}
ORDER BY {column} {direction}, p.profile_id {direction} LIMIT ${limit}
"""  # noqa: S608 — put together from constants and from what the compiler of filters wrote
