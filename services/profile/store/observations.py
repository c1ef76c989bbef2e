"""Observing: the history, the counting and the remembered answers, in one transaction."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from asyncpg import exceptions as driver
from beckon.errors.v1.error_reason_pb2 import ErrorReason

from mesh import metrics
from mesh.clock import Clock
from mesh.errors import Aborted
from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.profile.convert.records import Place
from services.profile.model import WEEK_US, Earlier, Event, PersonKey, Profile
from services.profile.store.rows import columns, read_profiles

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
_LOCK = "ORDER BY p.workspace, p.profile_id FOR NO KEY UPDATE OF p"
_EARLIER = """
SELECT event_uid, receive_us, fingerprint, log_partition, log_position
FROM history WHERE event_uid = ANY($1::uuid[]) AND receive_us >= $2
"""
_CREATE = """
INSERT INTO profiles (workspace, profile_id, version, first_seen_us, last_seen_us, counters,
    email, phone, time_zone, locale, attributes, shard, create_time, update_time)
SELECT *, $13::timestamptz, $13::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::smallint[])
ON CONFLICT DO NOTHING
"""
_COUNT = """
UPDATE profiles AS p SET version = w.version, first_seen_us = w.first_seen_us,
    last_seen_us = w.last_seen_us, counters = w.counters, update_time = $7::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id AND p.version = w.version - 1
"""
_REVISE = """
UPDATE profiles AS p SET version = w.version, first_seen_us = w.first_seen_us,
    last_seen_us = w.last_seen_us, counters = w.counters, email = w.email, phone = w.phone,
    time_zone = w.time_zone, locale = w.locale, attributes = w.attributes,
    update_time = $12::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::jsonb[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::jsonb[])
    AS w (workspace, profile_id, version, first_seen_us, last_seen_us, counters,
        email, phone, time_zone, locale, attributes)
WHERE p.workspace = w.workspace AND p.profile_id = w.profile_id AND p.version = w.version - 1
"""
_BAD_CONTENT = "SELECT i FROM unnest($1::text[]) WITH ORDINALITY AS t (c, i) WHERE NOT is_jsonb(c)"
_FORGET = """
DELETE FROM answers WHERE (receive_us, log_partition, log_position) IN (
    SELECT receive_us, log_partition, log_position FROM answers WHERE create_time < $1 LIMIT $2)
"""

_T = TypeVar("_T")


class Turn:
    """One transaction that takes events in.

    It locks nothing that it reads. Whoever writes a person makes the version one
    greater than what was read; if that is no longer so the turn rolls back and
    is done anew. What is read must be read in this order: people, earlier events,
    answers. Then whatever another turn commits in between is either seen by a
    later step or noticed by the version.
    """

    def __init__(
        self, connection: Connection, now: datetime, *, lock: bool, unkeepable: frozenset[Event]
    ) -> None:
        """Use `Observations.run` instead."""
        self._db = connection
        self._now = now
        self._lock = lock
        self.unkeepable = unkeepable
        """Events whose content the database has refused; the turn must leave them out."""
        self.kept: Sequence[Event] = ()

    async def recall(self, places: Collection[Place]) -> dict[Place, bytes]:
        """Return the remembered answers to these records."""
        rows = await self._db.fetch(_RECALL, *columns(places, 3))
        return {Place(row[0], row[1], row[2]): row[3] for row in rows}

    async def read(self, people: Collection[PersonKey]) -> dict[PersonKey, Profile]:
        """Return those of the people who are known."""
        return await read_profiles(self._db, people, lock=_LOCK if self._lock else "")

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

    async def keep(self, events: Sequence[Event]) -> None:
        """Write the events into the history."""
        self.kept = events
        if events:
            await self._db.copy_records_to_table(
                "history", records=events, columns=_HISTORY_COLUMNS
            )

    async def write(
        self, profiles: Mapping[PersonKey, Profile], before: Mapping[PersonKey, Profile]
    ) -> None:
        """Write what has become of the people.

        Raises:
            Aborted: Somebody else has written one of them meanwhile.
        """
        created, counted, revised = [], [], []
        # In a fixed order: two turns that share people then wait for each other in a line.
        for key in sorted(profiles):
            profile, known = profiles[key], before.get(key)
            if known is None:
                created.append((*_counts(key, profile), *_facts(profile), shard_of(*key)))
            elif profile.facts is known.facts:
                counted.append(_counts(key, profile))
            else:
                revised.append((*_counts(key, profile), *_facts(profile)))
        await self._write_all(_CREATE, created, 12)
        await self._write_all(_COUNT, counted, 6)
        await self._write_all(_REVISE, revised, 11)

    async def remember(self, answers: Collection[tuple[Place, bytes]]) -> None:
        """Keep the answers, for who did not hear them."""
        if answers:
            places = columns([place for place, _ in answers], 3)
            await self._db.execute(_REMEMBER, *places, [answer for _, answer in answers], self._now)

    async def _write_all(self, query: str, rows: Sequence[tuple[object, ...]], width: int) -> None:
        if not rows:
            return
        status = await self._db.execute(query, *columns(rows, width), self._now)
        if int(status.rpartition(" ")[2]) != len(rows):
            raise Aborted(ErrorReason.ERROR_REASON_CONFLICT, "another writer was faster")


class Observations:
    """Takes events in, turn by turn."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the pool and the clock."""
        self._database = database
        self._clock = clock
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
                        connection, self._clock.now(), lock=attempt > 0, unkeepable=unkeepable
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

    async def read(self, people: Collection[PersonKey]) -> dict[PersonKey, Profile]:
        """Return those of the people who are known, as they are now."""
        async with self._database.connection() as connection:
            return await read_profiles(connection, people)

    async def _find_unkeepable(self, events: Sequence[Event]) -> frozenset[Event]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BAD_CONTENT, [event.properties for event in events])
        return frozenset(events[row[0] - 1] for row in rows)


def _counts(key: PersonKey, profile: Profile) -> tuple[object, ...]:
    return (
        *key,
        profile.version,
        profile.first_seen_us,
        profile.last_seen_us,
        msgspec.json.encode(profile.counters).decode(),
    )


def _facts(profile: Profile) -> tuple[object, ...]:
    facts = profile.facts
    return facts.email, facts.phone, facts.time_zone, facts.locale, facts.attributes
