"""Observing: the history, the counting and the remembered answers, in one transaction."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar
from uuid import UUID

from asyncpg import exceptions as driver
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import Aborted
from mesh.postgres import Connection, Database
from services.profile.convert.moments import micros
from services.profile.convert.records import Place
from services.profile.model import DAY_US, WEEK_US, Earlier, Event, PersonKey, Touched
from services.profile.model.devices import Device
from services.profile.model.people import FoundEvent
from services.profile.model.persons import Edge, Observed, Person
from services.profile.rules import Types
from services.profile.rules.devices import usable
from services.profile.rules.identity import changed_keys
from services.profile.rules.watching import successions
from services.profile.store import erasures, identities, persons, segments, traits, unity, watches
from services.profile.store.attributes import AttributeTypes
from services.profile.store.definitions import Definitions, Edition
from services.profile.store.devices import read_devices
from services.profile.store.rows import columns

KnownEdges: TypeAlias = Mapping[tuple[str, UUID], Edge]

# The first without locks, then with them; more than a few lost races in a row mean that
# somebody holds the rows, and the caller does better to come back.
_ATTEMPTS_MAX = 6

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HISTORY_COLUMNS = Event._fields

_RECALL = """
SELECT a.receive_us, a.log_partition, a.log_position, a.answer
FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS w (receive_us, log_partition, log_position)
JOIN answers AS a USING (receive_us, log_partition, log_position)
"""
_REMEMBER = """
INSERT INTO answers (receive_us, log_partition, log_position, answer, create_time)
SELECT *, $5::timestamptz FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bytea[])
ON CONFLICT DO NOTHING
"""
_EARLIER = """
SELECT event_uid, receive_us, fingerprint, log_partition, log_position
FROM history WHERE event_uid = ANY($1::uuid[]) AND receive_us >= $2
"""
_BAD_CONTENT = "SELECT i FROM unnest($1::text[]) WITH ORDINALITY AS t (c, i) WHERE NOT is_jsonb(c)"
# An event is received at most a day before it occurs: that says from which week on to look.
_FIND = """
SELECT w.i, h.event_id, h.type, h.occur_us, h.receive_us, h.properties, h.profile_id
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    AS w (i, workspace, member_id, types, since_us)
CROSS JOIN LATERAL (
    SELECT * FROM history AS one
    WHERE one.workspace = w.workspace AND one.profile_id = w.member_id
        AND one.receive_us >= w.since_us - $7 AND one.occur_us >= w.since_us
        AND one.type = ANY(string_to_array(w.types, ','))
    ORDER BY one.occur_us DESC LIMIT $6
) AS h
"""
_FORGET = """
DELETE FROM answers WHERE (receive_us, log_partition, log_position) IN (
    SELECT receive_us, log_partition, log_position FROM answers WHERE create_time < $1 LIMIT $2)
"""

_T = TypeVar("_T")


class Turn:
    """One transaction that takes events in.

    It locks nothing that it reads. Whoever writes a person makes the version one
    greater than what was read; if that is no longer so the turn rolls back and
    is done anew. What is read must be read in this order: types, people, earlier
    events, answers. Then whatever another turn commits in between is either seen by a
    later step or noticed by the version.
    """

    def __init__(
        self,
        connection: Connection,
        edition: Edition,
        types: AttributeTypes,
        now: datetime,
        *,
        lock: bool,
        unkeepable: frozenset[Event],
    ) -> None:
        """Use `Observations.run` instead."""
        self._db = connection
        self._edition = edition
        self._types = types
        self._lock = lock
        self.now = now
        self.unkeepable = unkeepable
        """Events whose content the database has refused; the turn must leave them out."""
        self.kept: Sequence[Event] = ()
        self._stood: Mapping[traits.Place, str] = {}

    async def recall(self, places: Collection[Place]) -> dict[Place, bytes]:
        """Return the remembered answers to these records."""
        rows = await self._db.fetch(_RECALL, *columns(places, 3))
        return {Place(row[0], row[1], row[2]): row[3] for row in rows}

    async def types(self, wanted: Mapping[str, Collection[str]]) -> dict[str, Types]:
        """Return by workspace what these attributes take."""
        return await self._types.read(self._db, wanted) if wanted else {}

    async def read(
        self, people: Collection[PersonKey], *, uniting: bool = False
    ) -> dict[PersonKey, Person]:
        """Return those of the people who are known, by every id that is asked for.

        `uniting` says that some of them may be united in this turn.
        """
        return await persons.load(self._db, people, lock=self._lock, dated=uniting)

    async def find_edges(self, merges: Collection[tuple[str, UUID]]) -> KnownEdges:
        """Return those of the edges that were made before."""
        return await identities.find_edges(self._db, merges) if merges else {}

    async def find_erased(self, unknown: Collection[PersonKey]) -> dict[PersonKey, UUID]:
        """Return by which erasure each of the people is refused who is."""
        if not unknown or not self._edition.has_erasures:
            return {}
        return await erasures.refused(self._db, unknown, self.now)

    async def refuse_erased(
        self, events: Sequence[Event], refused: Mapping[PersonKey, UUID]
    ) -> None:
        """Count the events of people who were erased on the receipts, and forget them."""
        if events:
            await erasures.count_refused(self._db, events, refused)

    async def find_earlier(
        self, events: Sequence[Event], *, window_us: int
    ) -> dict[UUID, list[Earlier]]:
        """Return what the history holds under the ids of the events, within the window."""
        found: defaultdict[UUID, list[Earlier]] = defaultdict(list)
        if events:
            uids = [event.event_uid for event in events]
            since_us = min(event.receive_us for event in events) - window_us
            for row in await self._db.fetch(_EARLIER, uids, since_us):
                found[row[0]].append(Earlier(row[1], row[2], row[3], row[4]))
        return found

    async def write(self, observed: Observed, types: Mapping[str, Types]) -> None:
        """Write the events into the history, what they made of people, and what follows.

        Raises:
            Aborted: Somebody else has written one of them meanwhile.
        """
        self.kept = observed.kept
        if not observed.kept:
            return
        db, now_us = self._db, micros(self.now)
        if self._edition.segments:
            before = [after.key for _, after in observed.changes]
            await segments.note_before(db, before, self._edition, now_us)
        await unity.carry_over(db, observed.renamings)
        advanced = await self._advance(observed, now_us)
        # The driver takes plain tuples apart in half the time of named ones.
        rows = map(tuple, observed.kept)
        await db.copy_records_to_table("history", records=rows, columns=_HISTORY_COLUMNS)
        if advanced is not None:
            observed = _with_traits(observed, advanced.values)
            self._stood = advanced.stood
        await persons.write(db, observed.changes, self.now)
        await unity.settle(db, observed.renamings, self.now)
        await self._add_refused_edges(observed)
        if advanced is not None:
            await traits.write(db, advanced)
        await self._types.keep(db, types, self.now)
        await self._check_erasures(observed)
        if self._edition.watched:
            changed = [*observed.changes, *successions(observed.renamings)]
            await watches.tell(db, changed, self._edition.watched, now_us)
        touched = _touched(observed, advanced, self._edition)
        if touched:
            await segments.reevaluate(db, touched, self._edition, now_us)

    async def trait_values(self, people: Iterable[Person]) -> dict[PersonKey, str]:
        """Return the traits of the people as of now, of those workspaces that have any."""
        zones = {
            person.key: person.profile.facts.time_zone
            for person in people
            if person.key[0] in self._edition.traits
        }
        if not zones:
            return {}
        return await traits.values(self._db, self._edition, zones, micros(self.now))

    def traits_at(self, event: Event) -> str | None:
        """Return the traits just after an event, where they are not those of now; after `write`."""
        return self._stood.get(traits.place_of(event)) if self._stood else None

    async def remember(self, answers: Collection[tuple[Place, bytes]]) -> None:
        """Keep the answers, for who did not hear them."""
        if answers:
            places = columns([place for place, _ in answers], 3)
            await self._db.execute(_REMEMBER, *places, [answer for _, answer in answers], self.now)

    async def _advance(self, observed: Observed, now_us: int) -> traits.Advance | None:
        people = [one for one in observed.people if one.key[0] in self._edition.traits]
        if not people:
            return None
        moved = {one.key for renaming in observed.renamings for one in renaming.after}
        for before, after in observed.changes:
            zone = after.profile.facts.time_zone
            if before is not None and before.profile.facts.time_zone != zone:
                moved.add(after.key)
        return await traits.advance(
            self._db,
            self._edition,
            observed.kept,
            _names(people),
            {one.key: one.profile.facts.time_zone for one in people},
            now_us,
            moved={one.key for one in people if one.key in moved},
            stood=[event for event, _ in observed.stood],
        )

    async def _add_refused_edges(self, observed: Observed) -> None:
        if observed.refused_edges:
            names = _names(observed.people)
            keys = [(edge.workspace, edge.into_id) for edge in observed.refused_edges]
            await identities.add_edges(
                self._db,
                [
                    (names.get(key, key)[1], edge)
                    for key, edge in zip(keys, observed.refused_edges, strict=True)
                ],
            )

    async def _check_erasures(self, observed: Observed) -> None:
        """Make sure that nobody who came into being was erased meanwhile."""
        created = [after.key for before, after in observed.changes if before is None]
        created += [
            before.key
            for renaming in observed.renamings
            for before in renaming.before
            if not before.profile.version
        ]
        version = self._edition.versions.get("erasures", 0)
        if await erasures.was_overtaken(self._db, created, erasures_version=version):
            raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "an erasure was faster")


class Observations:
    """Takes events in, turn by turn."""

    def __init__(
        self, database: Database, clock: Clock, definitions: Definitions, types: AttributeTypes
    ) -> None:
        """Take the pool, the clock, and what every turn must know."""
        self._database = database
        self._clock = clock
        self._definitions = definitions
        self._types = types
        # Weeks that have a partition; only a hint, see `run`.
        self._weeks: set[int] = set()

    async def run(self, work: Callable[[Turn], Awaitable[_T]], *, weeks: Iterable[int]) -> _T:
        """Return what `work` returns, done in one transaction on these weeks of receipt.

        `work` is done again, from the start, when another writer was faster, and
        when the database refuses the content of events: then `turn.unkeepable` names them.

        Raises:
            Aborted: Other writers were faster again and again.
        """
        unkeepable: frozenset[Event] = frozenset()
        wanted = set(weeks)
        for attempt in range(_ATTEMPTS_MAX):
            await self.make_weeks(wanted - self._weeks)
            turn: Turn | None = None
            try:
                async with self._database.transaction() as connection:
                    turn = Turn(
                        connection,
                        await self._definitions.current(connection),
                        self._types,
                        self._clock.now(),
                        lock=attempt > 0,
                        unkeepable=unkeepable,
                    )
                    return await work(turn)
            except Aborted:
                metrics.WORKER_FAILURES.labels(worker="observe").inc()
                if attempt == _ATTEMPTS_MAX - 1:
                    raise
            except driver.CheckViolationError:
                # The partition of a week is gone.
                self._weeks.clear()
            except (driver.DataError, driver.ProgramLimitExceededError):
                bad = await self._find_unkeepable(turn.kept if turn is not None else ())
                if not bad:
                    raise
                unkeepable |= bad
        raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "other writers were faster")

    async def make_weeks(self, weeks: Iterable[int]) -> None:
        """Make the partitions of these weeks, counted from the epoch, where they are missing."""
        for week in sorted(weeks):
            name = (_EPOCH + timedelta(weeks=week)).strftime("%Y%m%d")
            async with self._database.connection() as connection:
                await connection.execute(
                    "SELECT make_week($1, $2, $3)", name, week * WEEK_US, (week + 1) * WEEK_US
                )
            self._weeks.add(week)

    async def forget_answers(self, *, before: datetime, limit: int = 10_000) -> int:
        """Delete remembered answers that are older, at most `limit`; return how many."""
        async with self._database.connection() as connection:
            status = await connection.execute(_FORGET, before, limit)
        return int(status.rpartition(" ")[2])

    async def read(self, people: Collection[PersonKey]) -> dict[PersonKey, Person]:
        """Return those of the people who are known, as they are now, by the ids asked for."""
        return await persons.read(self._database, people)

    async def trait_values(self, people: Iterable[Person]) -> dict[PersonKey, str]:
        """Return the traits of the people as of now; none where a workspace has none."""
        zones = {person.key: person.profile.facts.time_zone for person in people}
        async with self._database.connection() as connection:
            edition = await self._definitions.current(connection)
            return await traits.values(connection, edition, zones, micros(self._clock.now()))

    async def devices(self, people: Iterable[Person]) -> dict[PersonKey, list[Device]]:
        """Return the devices on which the people can be reached now, under their names."""
        async with self._database.connection() as connection:
            found = await read_devices(connection, [person.key for person in people])
        now_us = micros(self._clock.now())
        return {key: usable(devices, now_us) for key, devices in found.items()}

    async def find_events(
        self, sought: Sequence[tuple[PersonKey, Collection[str], int]], *, limit: int
    ) -> list[list[FoundEvent]]:
        """Return for each person what she did since an instant, by types, in its order.

        The latest `limit` of them, whatever ids she did it under.
        """
        people = await self.read({key for key, _, _ in sought})
        rows = [
            (at, key[0], member, ",".join(types), since_us)
            for at, (key, types, since_us) in enumerate(sought)
            for member in (people[key].ids if key in people else (key[1],))
        ]
        found: list[list[FoundEvent]] = [[] for _ in sought]
        async with self._database.connection() as connection:
            for row in await connection.fetch(_FIND, *columns(rows, 5), limit, DAY_US):
                found[row[0]].append(FoundEvent(*row[1:]))
        for events in found:
            events.sort(key=lambda one: (one.occur_us, one.receive_us, one.event_id))
        return [events[-limit:] for events in found]

    async def _find_unkeepable(self, events: Sequence[Event]) -> frozenset[Event]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BAD_CONTENT, [event.properties for event in events])
        return frozenset(events[row[0] - 1] for row in rows)


def _names(people: Iterable[Person]) -> dict[PersonKey, PersonKey]:
    """Return under which name each id goes that is not a name itself."""
    return {
        (one.key[0], member): one.key
        for one in people
        for member in one.member_ids
        if member != one.key[1]
    }


def _with_traits(observed: Observed, values: Mapping[PersonKey, str]) -> Observed:
    if not values:
        return observed
    return replace(
        observed,
        changes=[(before, unity.valued(after, values)) for before, after in observed.changes],
        renamings=unity.with_traits(observed.renamings, values),
    )


def _touched(
    observed: Observed, advanced: traits.Advance | None, edition: Edition
) -> list[Touched]:
    """Return what changed of whom, of those workspaces that have segments."""
    if not edition.segments:
        return []
    names = _names(observed.people)
    types: defaultdict[PersonKey, set[str]] = defaultdict(set)
    for event in observed.kept:
        types[names.get(event.person, event.person)].add(event.type)
    valued: Mapping[PersonKey, frozenset[str]] = advanced.changed if advanced is not None else {}
    touched = [
        Touched(
            after.key,
            event_types=frozenset(types[after.key]),
            attributes=changed_keys(before.profile.facts, after.profile.facts),
            traits=valued.get(after.key, frozenset()),
        )
        if before is not None
        else Touched(after.key, anything=True)
        for before, after in observed.changes
    ]
    renamed = [one for renaming in observed.renamings for one in renaming.after]
    touched += [Touched(one.key, anything=True) for one in renamed]
    return [one for one in touched if one.key[0] in edition.segments]
