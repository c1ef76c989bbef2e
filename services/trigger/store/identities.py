"""Passages of people who are united, parted or erased."""

# ruff: noqa: S608 — statements are put together from constants of this file only

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mesh.ids import shard_of
from mesh.postgres import Connection, Database
from services.trigger.model import (
    Enrollment,
    EnrollmentState,
    Erasure,
    Identity,
    Key,
    Presence,
)
from services.trigger.rules import United, orphaned
from services.trigger.store.broadcasts import forget_actors
from services.trigger.store.notices import Owed, forget_identities, insert_notices
from services.trigger.store.people import lock_people
from services.trigger.store.presences import move_presences, presences_of
from services.trigger.store.regrouping import (
    put_items,
    regroup_windows,
    rename_actors,
    take_items,
    take_out,
)
from services.trigger.store.rows import COLUMNS, enrollment_of, row_of, write_gates
from services.trigger.store.turns import Conflict, insert_refusals

_WAITING, _SENDING = int(EnrollmentState.WAITING), int(EnrollmentState.SENDING)
_SENT, _CANCELING = int(EnrollmentState.SENT), int(EnrollmentState.CANCELING)
# Under which id a row was begun.
_ORIGIN = "coalesce(nullif(member, ''), profile)"
_OF_PEOPLE = f"workspace = $1 AND profile = ANY($2::text[]) AND {_ORIGIN} = ANY($3::text[])"
_OPEN = f"(state IN ({_WAITING}, {_SENDING}) OR (state = {_SENT} AND expire_time > $4))"
# What may still be judged: all of the campaigns in which something is under way.
_JUDGED = (
    f"{_OF_PEOPLE} AND campaign IN (SELECT campaign FROM enrollments WHERE {_OF_PEOPLE}"
    f" AND {_OPEN})"
)
_MOVED = f"profile = $4, member = CASE WHEN {_ORIGIN} = $4 THEN '' ELSE {_ORIGIN} END"
# Passages of others that the people's events began, as the index has them.
_BEGUN = "workspace = $1 AND actor = ANY($2::text[]) AND actor <> profile AND actor <> member"


def _twice(table: str) -> str:
    """Return whether what one event began for `e` stays, or moves, under another id."""
    return (
        f" EXISTS (SELECT 1 FROM {table} AS o WHERE o.workspace = e.workspace"
        " AND o.profile = ANY($2::text[]) AND o.campaign = e.campaign"
        " AND o.event_uid = e.event_uid AND (o.profile = $4 OR (o.profile < e.profile"
        " AND coalesce(nullif(o.member, ''), o.profile) = ANY($3::text[]))))"
    )


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is of people who are to be one, as it is before."""

    known: Mapping[str, tuple[str, int]]
    """Id → under which it went until now, and the version that said so."""
    members: tuple[str, ...]
    """The ids of which nothing newer is known."""
    sources: tuple[str, ...]
    """The ids that their passages may be under."""
    passages: tuple[Enrollment, ...]
    """Of campaigns in which something is under way, by the id they are to go by."""
    entries: tuple[tuple[str, str, datetime, str], ...]
    """(campaign, id, latest entry, value by which re-entry is asked apart) of what is not kept any
    more."""
    assigned: Mapping[str, str]
    """Campaign → the arm that any of them was given first."""
    revisions: Mapping[tuple[Key, bytes], int]
    """Of the passages, by the key that they have yet."""
    presences: tuple[Presence, ...] = ()
    """Where they were by the latest report of each."""

    def moves(self, profile: str) -> bool:
        """Whether anybody went by another id than `profile` until now."""
        return any(self.known.get(one, (one, 0))[0] != profile for one in self.members)

    @property
    def news(self) -> bool:
        """Whether people are one who were not until now."""
        return (
            len(self.members) > 1 and len({self.known.get(m, (m, 0))[0] for m in self.members}) > 1
        )


class IdentityStore:
    """Moves what is kept of people from one id to another, or removes it."""

    def __init__(self, database: Database, *, partitions: int) -> None:
        """Keep everything in `database`; a person's partition is the shard modulo `partitions`."""
        self._database = database
        self._partitions = partitions

    async def version(self, identity: Identity) -> int:
        """Return the greatest version known of the ids."""
        async with self._database.connection() as connection:
            known = await _known(connection, identity)
        return max((version for _, version in known.values()), default=0)

    async def gather(self, identity: Identity, *, now: datetime) -> Gathered | None:
        """Return what there is of the ids; None when something newer is known of the person."""
        async with self._database.connection() as connection:
            known = await _known(connection, identity)
            wanted = {*identity.members, identity.profile}
            members = tuple(
                sorted(one for one in wanted if known.get(one, ("", 0))[1] <= identity.version)
            )
            person = known.get(identity.profile, (identity.profile, 0))[0]
            if person != identity.profile and identity.profile not in members:
                return None
            kept = await _kept(connection, identity.workspace, members)
            sources = tuple(sorted({*members, *kept}))
            rows = await connection.fetch(
                f"SELECT * FROM enrollments WHERE {_JUDGED}",
                *_people(identity, members, sources),
                now,
            )
            entries = await connection.fetch(
                f"SELECT campaign, {_ORIGIN} AS origin, entry_time, reentry_key FROM entries"
                f" WHERE {_OF_PEOPLE}",
                *_people(identity, members, sources),
            )
            arms = await connection.fetch(
                "SELECT DISTINCT ON (campaign) campaign, variant FROM assignments"
                f" WHERE {_OF_PEOPLE} ORDER BY campaign, assign_time, member",
                *_people(identity, members, sources),
            )
            presences = await presences_of(connection, identity.workspace, sources, members)
        found = [enrollment_of(row) for row in rows]
        return Gathered(
            known,
            members,
            sources,
            tuple(_moved(one, identity.profile) for one in found),
            tuple(
                (row["campaign"], row["origin"], row["entry_time"], row["reentry_key"])
                for row in entries
            ),
            {row["campaign"]: row["variant"] for row in arms},
            {(one.key, one.event.uid.bytes): one.revision for one in found},
            presences,
        )

    async def commit(
        self,
        identity: Identity,
        gathered: Gathered,
        united: Sequence[United],
        owed: Sequence[Owed],
        *,
        now: datetime,
    ) -> None:
        """Move what is kept of the ids to the person, as it was judged; all or nothing.

        Raises:
            Conflict: Something has changed since it was gathered.
        """
        people = _people(identity, gathered.members, gathered.sources)
        async with self._database.transaction() as connection:
            ids = {*gathered.sources, *gathered.members, identity.profile}
            await self._hold(connection, identity.workspace, ids)
            kept = await _kept(connection, identity.workspace, gathered.members)
            if await _known(connection, identity) != gathered.known or kept - ids:
                raise Conflict
            await _check(connection, gathered, people, now)
            of_people = (identity.workspace, gathered.sources, gathered.members)
            if await presences_of(connection, *of_people) != gathered.presences:
                raise Conflict
            await connection.execute(
                "INSERT INTO identities (workspace, member, profile, version)"
                " SELECT $1, member, $3, $4 FROM unnest($2::text[]) AS m(member)"
                " ON CONFLICT (workspace, member) DO UPDATE"
                " SET profile = excluded.profile, version = excluded.version",
                identity.workspace,
                list(gathered.members),
                identity.profile,
                identity.version,
            )
            sources = gathered.sources
            taken = await take_items(connection, identity.workspace, sources, identity.profile)
            await _move(connection, people, identity)
            regrouped = await regroup_windows(
                connection, taken, *of_people, identity.profile, now=now
            )
            await _write(connection, United(regrouped.windows), now)
            await put_items(connection, regrouped)
            await rename_actors(connection, identity.workspace, gathered.members, identity.profile)
            await move_presences(connection, *of_people, identity.profile)
            for one in united:
                await _write(connection, one, now)
            await insert_notices(connection, owed)

    async def erase(
        self,
        erasure: Erasure,
        owe: Callable[[Mapping[str, int], int], Sequence[Owed]],
        *,
        now: datetime,
    ) -> None:
        """Remove what is kept of people; of what their events began for others, what these say.

        Args:
            erasure: who.
            owe: returns what others are to hear, of how much was removed by kind and of how much
                of them was on its way to others.
            now: when.

        Raises:
            Conflict: They were united or parted in the middle.
        """
        counts: dict[str, int] = {}
        async with self._database.transaction() as connection:
            kept = await _kept(connection, erasure.workspace, erasure.profiles)
            sources = sorted({*erasure.profiles, *kept})
            await self._hold(connection, erasure.workspace, sources)
            if await _kept(connection, erasure.workspace, erasure.profiles) != kept:
                raise Conflict
            people = [erasure.workspace, sources, list(erasure.profiles)]
            owed: int = await connection.fetchval(
                f"SELECT count(*) FROM enrollments WHERE {_OF_PEOPLE}"
                f" AND state IN ({_SENDING}, {_CANCELING})",
                *people,
            )
            for table in ("enrollments", "decisions", "entries", "assignments", "presences"):
                status = await connection.execute(
                    f"DELETE FROM {table} WHERE {_OF_PEOPLE}", *people
                )
                counts[table] = int(status.split()[-1])
            status = await connection.execute(
                "DELETE FROM quarantine WHERE workspace = $1 AND profile = ANY($2::text[])",
                erasure.workspace,
                list(erasure.profiles),
            )
            counts["quarantined_events"] = int(status.split()[-1])
            await connection.execute(
                "DELETE FROM identities WHERE workspace = $1 AND member = ANY($2::text[])",
                erasure.workspace,
                list(erasure.profiles),
            )
            told, under_way = await take_out(connection, erasure.workspace, sources, now=now)
            counts["digest_items"] = told
            await _write(connection, United(tuple(under_way)), now)
            counts["enrollments_of_others"] = await _orphan(connection, erasure, now)
            counts |= await forget_actors(connection, erasure.workspace, sources)
            owed += await forget_identities(connection, erasure)
            await insert_notices(connection, owe(counts, owed))

    async def _hold(self, connection: Connection, workspace: str, ids: Collection[str]) -> None:
        """Let no turn commit that judged these people by what was known before."""
        partitions = sorted({shard_of(workspace, one) % self._partitions for one in ids})
        await connection.execute(
            "UPDATE log_positions SET turn = turn + 1 WHERE partition IN ("
            "SELECT partition FROM log_positions WHERE partition = ANY($1::integer[])"
            " ORDER BY partition FOR UPDATE)",
            partitions,
        )
        await lock_people(connection, {(workspace, one) for one in ids})


def _people(
    identity: Identity, members: Collection[str], sources: Collection[str]
) -> tuple[str, list[str], list[str]]:
    return identity.workspace, list({*sources, identity.profile}), list(members)


def _moved(passage: Enrollment, profile: str) -> Enrollment:
    """Return the passage under the id that its person is to go by."""
    return replace(
        passage,
        key=passage.key._replace(profile=profile),
        member="" if passage.origin == profile else passage.origin,
    )


async def _kept(connection: Connection, workspace: str, members: Collection[str]) -> set[str]:
    """Return under which other ids something is kept that was begun under these.

    Mostly those that they go by. A turn may have known a person by a union of which the log has
    yet to tell.
    """
    rows = await connection.fetch(
        " UNION ".join(
            f"SELECT profile FROM {table} WHERE workspace = $1 AND member <> ''"
            " AND member = ANY($2::text[])"
            for table in (
                "enrollments",
                "decisions",
                "entries",
                "identities",
                "assignments",
                "presences",
            )
        ),
        workspace,
        list(members),
    )
    return {row["profile"] for row in rows}


async def _known(connection: Connection, identity: Identity) -> dict[str, tuple[str, int]]:
    rows = await connection.fetch(
        "SELECT member, profile, version FROM identities"
        " WHERE workspace = $1 AND member = ANY($2::text[])",
        identity.workspace,
        list({*identity.members, identity.profile}),
    )
    return {row["member"]: (row["profile"], row["version"]) for row in rows}


async def _check(
    connection: Connection,
    gathered: Gathered,
    people: tuple[str, list[str], list[str]],
    now: datetime,
) -> None:
    rows = await connection.fetch(
        f"SELECT workspace, profile, campaign, event_uid, revision FROM enrollments WHERE {_JUDGED}"
        " ORDER BY profile, campaign, event_uid FOR UPDATE",
        *people,
        now,
    )
    found = {
        (Key(row["workspace"], row["profile"], row["campaign"]), row["event_uid"].bytes): row[
            "revision"
        ]
        for row in rows
    }
    if found != gathered.revisions:
        raise Conflict


async def _move(
    connection: Connection, people: tuple[str, list[str], list[str]], identity: Identity
) -> None:
    arguments = (*people, identity.profile)
    await connection.execute(
        f"UPDATE enrollments AS e SET {_MOVED}, shard = $5, revision = revision + 1"
        f" WHERE {_OF_PEOPLE} AND profile <> $4 AND NOT {_twice('enrollments')}",
        *arguments,
        shard_of(identity.workspace, identity.profile),
    )
    await connection.execute(
        f"UPDATE decisions SET {_MOVED} WHERE {_OF_PEOPLE} AND profile <> $4", *arguments
    )
    await connection.execute(
        f"UPDATE digest_undos AS e SET {_MOVED}"
        f" WHERE {_OF_PEOPLE} AND profile <> $4 AND NOT {_twice('digest_undos')}",
        *arguments,
    )
    for table in ("enrollments", "digest_undos"):
        # One event that came to several ids of hers, or again after it was forgotten: it is heard
        # once.
        await connection.execute(
            f"DELETE FROM {table} AS e WHERE {_OF_PEOPLE} AND profile <> $4 AND {_twice(table)}",
            *arguments,
        )
    await connection.execute(
        "WITH gone AS (DELETE FROM entries"
        f" WHERE {_OF_PEOPLE} AND profile <> $4"
        f" RETURNING workspace, campaign, {_ORIGIN} AS origin, reentry_key, entry_time)"
        " INSERT INTO entries (workspace, profile, campaign, member, reentry_key, entry_time)"
        " SELECT workspace, $4, campaign, CASE WHEN origin = $4 THEN '' ELSE origin END,"
        " reentry_key, max(entry_time) FROM gone"
        " GROUP BY workspace, campaign, origin, reentry_key"
        " ON CONFLICT (workspace, profile, campaign, member, reentry_key) DO UPDATE"
        " SET entry_time = greatest(entries.entry_time, excluded.entry_time)",
        *arguments,
    )
    await connection.execute(
        "WITH gone AS (DELETE FROM assignments"
        f" WHERE {_OF_PEOPLE} AND profile <> $4 RETURNING *, {_ORIGIN} AS origin)"
        " INSERT INTO assignments AS a (workspace, profile, campaign, member, variant, split,"
        " assign_time) SELECT DISTINCT ON (campaign, origin) workspace, $4, campaign,"
        " CASE WHEN origin = $4 THEN '' ELSE origin END, variant, split, assign_time"
        " FROM gone ORDER BY campaign, origin, assign_time"
        " ON CONFLICT (workspace, profile, campaign, member) DO UPDATE"
        " SET variant = excluded.variant, split = excluded.split,"
        " assign_time = excluded.assign_time WHERE excluded.assign_time < a.assign_time",
        *arguments,
    )


async def _orphan(connection: Connection, erasure: Erasure, now: datetime) -> int:
    """Stop what people who are erased began for others, and forget what they did; return how many.

    The record of it stays: whose it is, and that it was stopped.
    """
    people = [erasure.workspace, list(erasure.profiles)]
    rows = await connection.fetch(
        f"SELECT * FROM enrollments WHERE {_BEGUN} AND (state IN ({_WAITING}, {_SENDING})"
        f" OR (state = {_SENT} AND expire_time > $3))"
        " ORDER BY profile, campaign, event_uid FOR UPDATE",
        *people,
        now,
    )
    # A window that gathers tells of others, too: what she did was taken out of it.
    alone = [row for row in rows if row["digest_key"] is None or row["state"] != _WAITING]
    stopped = tuple(orphaned(enrollment_of(row), now=now) for row in alone)
    await _write(connection, United(stopped), now)
    status = await connection.execute(
        f"UPDATE enrollments SET actor = '', properties = '{{}}' WHERE {_BEGUN}", *people
    )
    return int(status.split()[-1])


async def _write(connection: Connection, united: United, now: datetime) -> None:
    """Write what judging made of passages, which are locked and moved by now."""
    if united.refusals:
        await connection.executemany(
            "DELETE FROM enrollments WHERE workspace = $1 AND profile = $2 AND campaign = $3"
            " AND event_uid = $4",
            [(*one.key, one.event.uid) for one in united.refusals],
        )
        await insert_refusals(connection, united.refusals)
    new = [one for one in united.passages if not one.revision]
    if new:
        await connection.copy_records_to_table(
            "enrollments", records=[row_of(one, None) for one in new], columns=COLUMNS
        )
    await connection.executemany(
        "UPDATE enrollments SET state = $5, entry_time = $6, wake_time = $7, lease_until = $8,"
        " gates = $9, dwelling = $10, revision = revision + 1"
        " WHERE workspace = $1 AND profile = $2 AND campaign = $3 AND event_uid = $4",
        [
            (
                *one.key,
                one.event.uid,
                int(one.state),
                one.entry_time,
                one.wake_time,
                # Whoever looks for what is owed takes it up at once.
                now if one.state is EnrollmentState.CANCELING else None,
                write_gates(one.gates),
                one.dwelling,
            )
            for one in united.passages
            if one.revision
        ],
    )
