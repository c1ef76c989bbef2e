"""One turn of the worker: what it needs to know, and its commit."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import exceptions as driver

from mesh.postgres import Connection, Database
from services.trigger.convert.broadcasts import told
from services.trigger.model import (
    NO_DIGESTS,
    Conversion,
    DigestQuestion,
    DigestRecords,
    Effects,
    Enrollment,
    EnrollmentState,
    History,
    HistoryQuestion,
    Key,
    Presence,
    Quarantined,
    Refusal,
)
from services.trigger.store.admissions import refusals_of
from services.trigger.store.broadcasts import insert_broadcasts
from services.trigger.store.digests import load_digests, write_digests
from services.trigger.store.history import (
    insert_assignments,
    insert_conversions,
    load_history,
)
from services.trigger.store.people import identities_of, lock_people
from services.trigger.store.presences import load_presences, write_presences
from services.trigger.store.rows import COLUMNS, enrollment_of, row_of, write_gates


class CatalogueChanged(Exception):
    """Campaigns changed since the turn judged: judge again."""


class LostPartition(Exception):
    """Another worker has moved on a partition of the turn: read again from there."""


class Conflict(Exception):
    """A passage changed since the turn read it: read and judge again."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of the keys that a turn may touch."""

    passages: tuple[Enrollment, ...]
    last_entries: Mapping[Key, datetime]
    turns: Mapping[int, int]
    """Partition → how many commits had judged its people before this was read."""
    identities: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Of the people asked about, under which id they go, as far as passages follow."""
    history: History = field(default_factory=History)
    digests: DigestRecords = NO_DIGESTS


class Before(NamedTuple):
    """What a turn knew of a key that turns of other partitions may touch too."""

    last_entry: datetime | None
    passages: frozenset[UUID]
    """The events of those that had not ended."""
    profile: str
    """The id that the key's own one went by. Another, where the log has told of her what it has
    not told yet of who was united in her: their passages stay under the key till then."""


_MUTABLE = (
    ("state", "smallint"),
    ("due_time", "timestamptz"),
    ("time_zone", "text"),
    ("wake_time", "timestamptz"),
    ("expire_time", "timestamptz"),
    ("release_time", "timestamptz"),
    ("lease_until", "timestamptz"),
    ("campaign_version", "bigint"),
    ("channel", "smallint"),
    ("template", "text"),
    ("critical", "boolean"),
    ("gates", "bytea"),
    ("slot_time", "timestamptz"),
    ("dwelling", "boolean"),
)
_KEY = (
    ("workspace", "text"),
    ("profile", "text"),
    ("campaign", "text"),
    ("event_uid", "uuid"),
    ("revision", "integer"),
)
_ARGUMENTS = (*_KEY, *_MUTABLE)
_UPDATE = (
    "UPDATE enrollments AS e SET revision = e.revision + 1, "
    + ", ".join(f"{name} = u.{name}" for name, _ in _MUTABLE)
    + " FROM unnest("
    + ", ".join(f"${number}::{type_}[]" for number, (_, type_) in enumerate(_ARGUMENTS, 1))
    + ") AS u("
    + ", ".join(name for name, _ in _ARGUMENTS)
    + ") WHERE e.workspace = u.workspace AND e.profile = u.profile AND e.campaign = u.campaign"
    " AND e.event_uid = u.event_uid AND e.revision = u.revision"
)
_OPEN = (int(EnrollmentState.WAITING), int(EnrollmentState.SENDING))


class TurnStore:
    """Reads for a turn and commits it, all or nothing."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self.database = database

    async def know(
        self,
        keys: Collection[Key],
        people: Collection[tuple[str, str]],
        event_uids: Collection[UUID],
        partitions: Collection[int],
        *,
        history: HistoryQuestion | None = None,
        digests: DigestQuestion | None = None,
        now: datetime,
    ) -> Known:
        """Return the open passages and the latest entries of `keys`, and those of the events.

        And who is who of the `people`, given as (workspace, id), and the `history` and what
        was gathered, as far as it is asked for.
        """
        if not keys and not people:
            return Known((), {}, {})
        columns = [[key[at] for key in keys] for at in range(len(Key._fields))]
        async with self.database.connection() as connection:
            # Before all else: what is committed from here on is not in what we know.
            turns = await connection.fetch(
                "SELECT partition, turn FROM log_positions WHERE partition = ANY($1::integer[])",
                list(partitions),
            )
            identities = await identities_of(connection, people)
            rows = await connection.fetch(
                "SELECT e.* FROM unnest($1::text[], $2::text[], $3::text[])"
                " AS k(workspace, profile, campaign)"
                " JOIN enrollments AS e USING (workspace, profile, campaign)"
                " WHERE e.state = ANY($4::smallint[])"
                f" OR (e.state = {int(EnrollmentState.SENT)} AND e.expire_time > $5)"
                " OR e.event_uid = ANY($6::uuid[])",
                *columns,
                _OPEN,
                now,
                list(event_uids),
            )
            entries = await connection.fetch(
                "SELECT k.workspace, k.profile, k.campaign, greatest("
                "(SELECT max(e.entry_time) FROM enrollments AS e WHERE e.workspace = k.workspace"
                " AND e.profile = k.profile AND e.campaign = k.campaign AND NOT e.dwelling"
                # Re-entry does not apply to what is gathered.
                " AND e.digest_key IS NULL),"
                "(SELECT max(o.entry_time) FROM entries AS o WHERE o.workspace = k.workspace"
                " AND o.profile = k.profile AND o.campaign = k.campaign)) AS entry_time"
                " FROM unnest($1::text[], $2::text[], $3::text[])"
                " AS k(workspace, profile, campaign)",
                *columns,
            )
            past = await load_history(connection, history or HistoryQuestion())
            gathered = await load_digests(connection, digests or DigestQuestion(), event_uids)
        return Known(
            tuple(enrollment_of(row) for row in rows),
            {
                Key(row["workspace"], row["profile"], row["campaign"]): row["entry_time"]
                for row in entries
                if row["entry_time"] is not None
            },
            {row["partition"]: row["turn"] for row in turns},
            identities,
            past,
            gathered,
        )

    async def presences(
        self, people: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Presence]:
        """Return where those of the people are, given as (workspace, id), of whom it is known."""
        async with self.database.connection() as connection:
            return await load_presences(connection, people)

    async def commit(
        self,
        moves: Mapping[int, tuple[str, str]],
        effects: Effects,
        *,
        catalogue_version: int,
        lease_until: datetime,
        turns: Mapping[int, int],
        guarded: Mapping[Key, Before] | None = None,
        once: Collection[tuple[Key, UUID]] = (),
        beside: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """Move positions and write effects, all or nothing.

        Args:
            moves: partition → (position read from, position read to).
            effects: what the turn wants written.
            catalogue_version: that of the campaigns the turn judged with.
            lease_until: until when this worker relays the sends that it releases.
            turns: `Known.turns` of the partitions whose people were judged by what was known. A
                replay moves no position: this is what keeps it and the partition's own turns apart.
            guarded: keys that turns of other partitions may touch at the same time.
            once: guarded keys and events that must not be on record as refused.
            beside: writes more in the same transaction, after all else.

        Raises:
            LostPartition: A partition is not where the turn read on.
            CatalogueChanged: There are newer campaigns.
            Conflict: A passage is not as the turn knew it, or may not be.
        """
        async with self.database.transaction() as connection:
            await _move(connection, moves, turns, catalogue_version)
            if guarded:
                await _guard(connection, guarded)
            # The people are held by now: who refused the same meanwhile is seen.
            if once and await refusals_of(connection, once):
                raise Conflict
            await _write(connection, effects, lease_until)
            if beside is not None:
                await beside(connection)


async def _write(connection: Connection, effects: Effects, lease_until: datetime) -> None:
    # First: the rest belongs to them.
    await _write_passages(connection, effects, lease_until)
    if effects.assignments:
        await insert_assignments(connection, effects.assignments)
    if effects.conversions:
        await _convert(connection, effects.conversions)
    if not await write_digests(connection, effects.digests):
        raise Conflict
    if effects.presences and not await write_presences(connection, effects.presences):
        raise Conflict
    if effects.tellings:
        await insert_broadcasts(connection, [told(one) for one in effects.tellings])
    if effects.quarantined:
        await _quarantine(connection, effects.quarantined)
    if effects.replayed:
        await connection.execute(
            "DELETE FROM quarantine WHERE id = ANY($1::uuid[])", list(effects.replayed)
        )


async def _write_passages(connection: Connection, effects: Effects, lease_until: datetime) -> None:
    new = [one for one in effects.enrollments if not one.revision]
    changed = [one for one in effects.enrollments if one.revision]
    if changed:
        await _update(connection, changed, lease_until)
    if new:
        await _insert(connection, new, lease_until)
    if effects.refusals:
        await insert_refusals(connection, effects.refusals)


async def _move(
    connection: Connection,
    moves: Mapping[int, tuple[str, str]],
    turns: Mapping[int, int],
    catalogue_version: int,
) -> None:
    # In one order, so that two turns over the same partitions cannot wait for each other.
    partitions = sorted({*moves, *turns})
    old, new = (
        [moves[partition][side] if partition in moves else None for partition in partitions]
        for side in (0, 1)
    )
    row = await connection.fetchrow(
        "WITH held AS (SELECT partition FROM log_positions WHERE partition = ANY($1::integer[])"
        " ORDER BY partition FOR UPDATE), moved AS (UPDATE log_positions AS p"
        " SET position = coalesce(u.new, p.position), turn = p.turn + 1"
        " FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[])"
        " AS u(partition, old, new, turn) WHERE p.partition = u.partition"
        " AND p.position = coalesce(u.old, p.position) AND p.turn = coalesce(u.turn, p.turn)"
        " AND p.partition IN (SELECT partition FROM held) RETURNING p.partition)"
        " SELECT (SELECT count(*) FROM moved) AS moved, (SELECT version FROM catalogue) AS version",
        partitions,
        old,
        new,
        [turns.get(partition) for partition in partitions],
    )
    assert row is not None
    if row["moved"] != len(partitions):
        here = await connection.fetchval(
            "SELECT count(*) FROM unnest($1::integer[], $2::text[]) AS u(partition, position)"
            " JOIN log_positions USING (partition, position)",
            list(moves),
            [start for start, _ in moves.values()],
        )
        # Those it would have moved it has locked: they are as they were.
        raise Conflict if here == len(moves) else LostPartition
    if row["version"] != catalogue_version:
        raise CatalogueChanged


async def _guard(connection: Connection, guarded: Mapping[Key, Before]) -> None:
    """Hold the people against other turns and unions, and see that none was faster."""
    keys = sorted(guarded)
    columns = [list(column) for column in zip(*keys, strict=True)]
    people = {(key.workspace, key.profile) for key in keys}
    await lock_people(connection, people)
    found = await identities_of(connection, people)
    for key, known in guarded.items():
        if found.get((key.workspace, key.profile), key.profile) != known.profile:
            raise Conflict
    rows = await connection.fetch(
        "SELECT workspace, profile, campaign,"
        " max(e.entry_time) FILTER (WHERE NOT e.dwelling AND e.digest_key IS NULL)"
        " AS entry_time,"
        " coalesce(array_agg(e.event_uid) FILTER (WHERE e.state = ANY($4::smallint[])), '{}')"
        " AS passages"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS k(workspace, profile, campaign)"
        " JOIN enrollments AS e USING (workspace, profile, campaign)"
        " GROUP BY workspace, profile, campaign",
        *columns,
        _OPEN,
    )
    for row in rows:
        before = guarded[Key(row["workspace"], row["profile"], row["campaign"])]
        # One that began late has an entry before the latest.
        entry = row["entry_time"]
        entered = entry is not None and (before.last_entry is None or entry > before.last_entry)
        if entered or not before.passages.issuperset(row["passages"]):
            raise Conflict


async def _convert(connection: Connection, conversions: Sequence[Conversion]) -> None:
    try:
        await insert_conversions(connection, conversions)
    except driver.ForeignKeyViolationError:
        # The passage was moved to another id, or erased.
        raise Conflict from None


async def _insert(
    connection: Connection, passages: Sequence[Enrollment], lease_until: datetime
) -> None:
    records = [row_of(one, _lease(one, lease_until)) for one in passages]
    try:
        await connection.copy_records_to_table("enrollments", records=records, columns=COLUMNS)
    except driver.UniqueViolationError:
        raise Conflict from None


async def _update(
    connection: Connection, passages: Sequence[Enrollment], lease_until: datetime
) -> None:
    status = await connection.execute(_UPDATE, *_arguments(passages, lease_until))
    if int(status.split()[-1]) != len(passages):
        raise Conflict


def _arguments(passages: Sequence[Enrollment], lease_until: datetime | None) -> list[list[object]]:
    rows = [
        (
            *one.key,
            one.event.uid,
            one.revision,
            int(one.state),
            one.due_time,
            one.time_zone,
            one.wake_time,
            one.expire_time,
            one.release_time,
            _lease(one, lease_until),
            one.campaign_version,
            one.channel,
            one.template,
            one.critical,
            write_gates(one.gates),
            one.slot_time,
            one.dwelling,
        )
        for one in passages
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _lease(passage: Enrollment, lease_until: datetime | None) -> datetime | None:
    owed = passage.state in (EnrollmentState.SENDING, EnrollmentState.CANCELING)
    return lease_until if owed else None


async def insert_refusals(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Put refusals on record."""
    await connection.copy_records_to_table(
        "decisions",
        records=[
            (
                *one.key,
                one.event.uid,
                one.event.event_id,
                one.decide_time,
                one.campaign_version,
                one.event.trace.trace_id,
                write_gates(one.gates),
                one.member,
                one.broadcast,
            )
            for one in refusals
        ],
        columns=(
            "workspace",
            "profile",
            "campaign",
            "event_uid",
            "event_id",
            "decide_time",
            "campaign_version",
            "trace_id",
            "gates",
            "member",
            "broadcast",
        ),
    )


async def _quarantine(connection: Connection, quarantined: Sequence[Quarantined]) -> None:
    # One that failed again stays, with its new reason and unmarked.
    await connection.executemany(
        "INSERT INTO quarantine (id, workspace, profile, event_id, type, error, payload, observed,"
        " partition, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (id) DO UPDATE SET error = excluded.error, observed = excluded.observed,"
        " payload = excluded.payload, replay_time = NULL",
        [
            (
                one.id,
                one.workspace,
                one.profile,
                one.event_id,
                one.type,
                one.error,
                one.payload,
                one.observed,
                one.partition,
                one.create_time,
            )
            for one in quarantined
        ],
    )


async def update_open(
    connection: Connection, passages: Sequence[Enrollment], lease_until: datetime | None
) -> set[tuple[Key, UUID]]:
    """Write passages that nobody else has changed; return which those are."""
    rows = await connection.fetch(
        _UPDATE + " RETURNING e.workspace, e.profile, e.campaign, e.event_uid",
        *_arguments(passages, lease_until),
    )
    return {
        (Key(row["workspace"], row["profile"], row["campaign"]), row["event_uid"]) for row in rows
    }
