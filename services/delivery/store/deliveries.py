"""The queue of deliveries and the record of what became of them. Every statement takes a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any
from uuid import UUID

from mesh.postgres import Connection, Database
from services.delivery.model import (
    Channel,
    Claimed,
    Delivery,
    NewDelivery,
    News,
    Settled,
    State,
)
from services.delivery.store.endings import announce
from services.delivery.store.outbox import news

# Of a tombstone is known who it was for, and nothing else.
_CREATE = f"""
WITH put AS (
    INSERT INTO deliveries (delivery_id, workspace, profile, campaign, template, channel,
        expire_time, trace_id, parent_span_id, sampled, data, broadcast, state, due_time, fence,
        handed_over, create_time)
    SELECT *, $17::timestamptz FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[],
        $5::text[], $6::smallint[], $7::timestamptz[], $8::bytea[], $9::bytea[], $10::boolean[],
        $11::bytea[], $12::uuid[], $13::smallint[], $14::timestamptz[], $15::integer[],
        $16::boolean[])
    ON CONFLICT (delivery_id) DO UPDATE
        SET campaign = excluded.campaign, template = excluded.template, channel = excluded.channel,
            expire_time = excluded.expire_time, trace_id = excluded.trace_id,
            parent_span_id = excluded.parent_span_id, sampled = excluded.sampled,
            broadcast = excluded.broadcast
        WHERE deliveries.campaign = ''
    RETURNING delivery_id, state, round, channel, workspace, profile, campaign
),
{announce("put", "$17::timestamptz", "$17::timestamptz")}
SELECT delivery_id, state FROM put
"""  # noqa: S608 — names and numbers of ours

_CLAIMED = (
    "d.delivery_id, d.workspace, d.profile, d.campaign, d.template, d.channel, d.fence,"
    " d.attempt_count, d.due_time, d.create_time, d.expire_time, d.trace_id, d.parent_span_id,"
    " d.sampled, d.data"
)

_CLAIM = f"""
UPDATE deliveries AS d
SET state = {int(State.SENDING)}, fence = d.fence + 1, due_time = $3, handed_over = $5
FROM (
    SELECT delivery_id FROM deliveries
    WHERE channel = $1 AND due_time <= $2
      -- Lapsed after the hand-over: nobody can tell, so nobody may repeat.
      AND ($5 OR NOT handed_over)
    ORDER BY due_time LIMIT $4 FOR UPDATE SKIP LOCKED
) AS due
WHERE d.delivery_id = due.delivery_id
RETURNING {_CLAIMED}
"""  # noqa: S608 — names and numbers of ours

_HAND_OVER = f"""
UPDATE deliveries AS d SET handed_over = true
FROM unnest($1::uuid[], $2::integer[]) AS ours (delivery_id, fence)
WHERE d.delivery_id = ours.delivery_id AND d.fence = ours.fence
  AND d.state = {int(State.SENDING)} AND NOT d.handed_over AND d.due_time > $3
RETURNING d.delivery_id
"""  # noqa: S608 — names and numbers of ours

_TAKE_BACK = f"""
UPDATE deliveries AS d SET handed_over = false
FROM unnest($1::uuid[], $2::integer[]) AS ours (delivery_id, fence)
WHERE d.delivery_id = ours.delivery_id AND d.fence = ours.fence
  AND d.state = {int(State.SENDING)}
"""  # noqa: S608 — names and numbers of ours

_SETTLE = f"""
WITH settled AS (
    UPDATE deliveries AS d
    SET state = s.state, due_time = s.due_time, attempt_count = d.attempt_count + s.tries,
        error = s.error, provider_message_id = s.provider_message_id, handed_over = false,
        send_time = CASE WHEN s.state = {int(State.SENT)} THEN $8::timestamptz END,
        -- A dead letter may be redriven; what was sent, cancelled or expired never is.
        data = CASE WHEN s.state IN ({int(State.PENDING)}, {int(State.FAILED)},
            {int(State.UNKNOWN)}) THEN d.data END
    FROM unnest($1::uuid[], $2::integer[], $3::smallint[], $4::timestamptz[], $5::integer[],
        $6::text[], $7::text[]) AS s (delivery_id, fence, state, due_time, tries, error,
        provider_message_id)
    WHERE d.delivery_id = s.delivery_id AND d.fence = s.fence
      AND d.state = {int(State.SENDING)}
    RETURNING d.delivery_id, d.round, d.state, d.channel, d.workspace, d.profile, d.campaign
),
{announce("settled", "$8::timestamptz", "$9::timestamptz")}
SELECT announced.*, (SELECT count(*) FROM settled) AS settled_count
FROM (SELECT 1) AS always LEFT JOIN announced ON true
"""  # noqa: S608 — names and numbers of ours

_LAPSE = f"""
WITH lapsed AS (
    UPDATE deliveries SET state = {int(State.UNKNOWN)}, due_time = NULL, handed_over = false,
        error = 'worker_lost', attempt_count = attempt_count + 1
    WHERE delivery_id IN (
        SELECT delivery_id FROM deliveries
        WHERE channel = $1 AND due_time <= $2 AND handed_over
        ORDER BY due_time LIMIT $3 FOR UPDATE SKIP LOCKED
    )
    RETURNING delivery_id, round, state, channel, workspace, profile, campaign
),
{announce("lapsed", "$2::timestamptz", "$2::timestamptz")}
SELECT count(*) FROM lapsed
"""  # noqa: S608 — names and numbers of ours

# Both in one statement: a create that comes between would slip through two.
_CANCEL = f"""
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS a (delivery_id, workspace, profile)
),
stopped AS (
    INSERT INTO deliveries (delivery_id, workspace, profile, campaign, template, channel, state,
        create_time, expire_time)
    SELECT delivery_id, workspace, profile, '', '', 0, {int(State.CANCELED)}, $4, $4 FROM asked
    ON CONFLICT (delivery_id) DO UPDATE
        SET state = {int(State.CANCELED)}, due_time = NULL, data = NULL, error = ''
        WHERE deliveries.state = {int(State.PENDING)}
           OR (deliveries.state = {int(State.SENDING)} AND NOT deliveries.handed_over)
    RETURNING delivery_id, round, state, channel, workspace, profile, campaign
),
-- Of one that was never created throttle and ingest hear when it is.
known AS (SELECT * FROM stopped WHERE campaign <> ''),
{announce("known", "$4::timestamptz", "$4::timestamptz")}
SELECT delivery_id FROM stopped
"""  # noqa: S608 — names and numbers of ours

_SHOWN = (
    "delivery_id, workspace, profile, campaign, template, channel, state, attempt_count, error,"
    " provider_message_id, create_time, CASE WHEN state = 1 THEN due_time END, send_time,"
    " expire_time, trace_id"
)

_LIST = f"""
SELECT {_SHOWN} FROM deliveries
WHERE workspace = $1
  AND ($2::timestamptz IS NULL OR (create_time, delivery_id) < ($2, $3::uuid))
  AND ($4 = '' OR profile = $4)
  AND ($5 = '' OR campaign = $5)
  AND (cardinality($6::smallint[]) = 0 OR state = ANY($6))
ORDER BY create_time DESC, delivery_id DESC LIMIT $7
"""  # noqa: S608 — names of ours

# Of an error the part before the colon is the reason.
_COUNT = """
SELECT state, split_part(error, ':', 1) AS reason, count(*) AS count
FROM deliveries WHERE broadcast = $1 GROUP BY 1, 2
"""

_REDRIVE = f"""
UPDATE deliveries SET state = {int(State.PENDING)}, due_time = $3, attempt_count = 0,
    round = round + 1, expire_time = $4, error = '', provider_message_id = ''
WHERE delivery_id = ANY($1::uuid[]) AND workspace = $2
"""  # noqa: S608 — names and numbers of ours

_FORGET = """
DELETE FROM deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM deliveries WHERE create_time < $1 AND due_time IS NULL
    LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilter:
    """Which deliveries to list; empty fields restrict nothing."""

    workspace: str
    profile: str = ""
    campaign: str = ""
    states: Sequence[State] = ()
    after: tuple[datetime, UUID] | None = None


class DeliveryStore:
    """The deliveries of all workspaces."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def create(
        self,
        deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        leased: Sequence[bool],
        lease_ends: Sequence[datetime],
        handed_over: Sequence[bool],
    ) -> tuple[set[UUID], set[UUID]]:
        """Queue deliveries, all or none; return which are new, and which met their cancellation.

        A leased one is in the caller's hands from the start, as if claimed. One
        that exists is left as it is.
        """
        if not deliveries:
            return set(), set()
        columns = list(zip(*deliveries, strict=True))
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                _CREATE,
                *columns,
                [State.SENDING if ours else State.PENDING for ours in leased],
                [end if ours else now for ours, end in zip(leased, lease_ends, strict=True)],
                [int(ours) for ours in leased],
                [ours and handed for ours, handed in zip(leased, handed_over, strict=True)],
                now,
            )
        canceled = {key for key, state in rows if state == State.CANCELED}
        return {key for key, state in rows if state != State.CANCELED}, canceled

    async def claim(
        self, channel: Channel, *, now: datetime, lease_end: datetime, limit: int, repeat_safe: bool
    ) -> list[Claimed]:
        """Take deliveries that are due, or whose lease lapsed before any hand-over.

        Where the provider drops repeats, those that lapsed later are taken too,
        and a claimed delivery counts as handed over at once.
        """
        async with self._db.connection() as connection:
            rows = await connection.fetch(_CLAIM, int(channel), now, lease_end, limit, repeat_safe)
        return [Claimed(*row) for row in rows]

    async def hand_over(
        self, deliveries: Sequence[Claimed], *, lease_beyond: datetime
    ) -> set[UUID]:
        """Record that a provider is about to get these; return those that still are ours.

        The others were cancelled meanwhile, or their lease ends too soon.
        """
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                _HAND_OVER,
                [one.delivery_id for one in deliveries],
                [one.fence for one in deliveries],
                lease_beyond,
            )
        return {row[0] for row in rows}

    async def take_back(self, deliveries: Sequence[Claimed]) -> None:
        """Record that no provider has these, though they counted as handed over."""
        ordered = sorted(deliveries, key=attrgetter("delivery_id"))
        async with self._db.connection() as connection:
            await connection.execute(
                _TAKE_BACK,
                [one.delivery_id for one in ordered],
                [one.fence for one in ordered],
            )

    async def settle(
        self, settled: Sequence[Settled], *, now: datetime, relay_until: datetime
    ) -> tuple[int, list[News]]:
        """Write what deliveries became; return how many, and the news that are ours to relay.

        A delivery that is not in the hands of this claim any more is left alone.
        """
        # In one order everywhere, so that two settlements cannot wait for each other.
        ordered = sorted(settled, key=_by_id)
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                _SETTLE,
                [one.delivery.delivery_id for one in ordered],
                [one.delivery.fence for one in ordered],
                [one.state for one in ordered],
                [one.due_time for one in ordered],
                [int(one.tried) for one in ordered],
                [_storable(one.error) for one in ordered],
                [_storable(one.provider_message_id) for one in ordered],
                now,
                relay_until,
            )
        # Without news there is one row, for the count.
        told = [tuple(row)[:-1] for row in rows if row[0] is not None]
        return int(rows[0]["settled_count"]), news(told)

    async def lapse(self, channel: Channel, *, now: datetime, limit: int) -> int:
        """Give up deliveries whose worker fell silent after the hand-over; return how many."""
        async with self._db.connection() as connection:
            return int(await connection.fetchval(_LAPSE, int(channel), now, limit))

    async def cancel(self, items: Sequence[tuple[UUID, str, str]], *, now: datetime) -> set[UUID]:
        """Cancel (delivery, workspace, profile) before hand-over, or in advance; return which are.

        One that was cancelled before counts.
        """
        ordered = sorted({item[0]: item for item in items}.values(), key=itemgetter(0))
        async with self._db.transaction() as connection:
            rows = await connection.fetch(
                _CANCEL,
                [item[0] for item in ordered],
                [item[1] for item in ordered],
                [item[2] for item in ordered],
                now,
            )
            stopped = {row[0] for row in rows}
            return stopped | await _canceled(connection, [item[0] for item in ordered])

    async def get(self, workspace: str, delivery_id: UUID) -> Delivery | None:
        """Return a delivery."""
        async with self._db.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_SHOWN} FROM deliveries"  # noqa: S608 — names of ours
                " WHERE delivery_id = $1 AND workspace = $2",
                delivery_id,
                workspace,
            )
        return None if row is None else _shown(tuple(row))

    async def list(self, wanted: ListFilter, limit: int) -> list[Delivery]:
        """Return deliveries, newest first."""
        time, key = wanted.after or (None, None)
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                _LIST,
                wanted.workspace,
                time,
                key,
                wanted.profile,
                wanted.campaign,
                [int(state) for state in wanted.states],
                limit,
            )
        return [_shown(tuple(row)) for row in rows]

    async def count(self, broadcast: UUID) -> dict[tuple[State, str], int]:
        """Return how many deliveries of a broadcast there are, by state and reason."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(_COUNT, broadcast)
        return {(State(row["state"]), row["reason"]): row["count"] for row in rows}

    async def redrive(
        self,
        workspace: str,
        delivery_ids: Sequence[UUID],
        *,
        movable: Sequence[State],
        now: datetime,
        expire_time: datetime,
    ) -> tuple[dict[UUID, State], bool]:
        """Put deliveries back into the queue if all may move; return their states and whether."""
        async with self._db.transaction() as connection:
            rows = await connection.fetch(
                "SELECT delivery_id, state FROM deliveries"
                " WHERE delivery_id = ANY($1::uuid[]) AND workspace = $2"
                " ORDER BY delivery_id FOR UPDATE",
                delivery_ids,
                workspace,
            )
            states = {row[0]: State(row[1]) for row in rows}
            moves = len(states) == len(set(delivery_ids)) and set(states.values()) <= set(movable)
            if moves:
                await connection.execute(_REDRIVE, delivery_ids, workspace, now, expire_time)
            return states, moves

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove deliveries that ended long ago; return how many."""
        async with self._db.connection() as connection:
            tag = await connection.execute(_FORGET, before, limit)
        return int(tag.rpartition(" ")[2])

    async def oldest_due(self, channel: Channel) -> datetime | None:
        """Return when the delivery that waits longest was due."""
        async with self._db.connection() as connection:
            found: datetime | None = await connection.fetchval(
                "SELECT min(due_time) FROM deliveries WHERE channel = $1 AND due_time IS NOT NULL",
                int(channel),
            )
        return found


async def _canceled(connection: Connection, delivery_ids: Sequence[UUID]) -> set[UUID]:
    rows = await connection.fetch(
        "SELECT delivery_id FROM deliveries WHERE delivery_id = ANY($1::uuid[]) AND state = $2",
        delivery_ids,
        int(State.CANCELED),
    )
    return {row[0] for row in rows}


def _storable(text: str) -> str:
    """Return the text without what PostgreSQL takes in no text.

    Templates and providers have a say in it, and one that is refused would keep all others.
    """
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _by_id(settled: Settled) -> UUID:
    return settled.delivery.delivery_id


def _shown(row: tuple[Any, ...]) -> Delivery:
    found = Delivery(*row)
    return found._replace(state=State(found.state))
