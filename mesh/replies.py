"""Remembered answers (AIP-155): a `request_id` has one effect and one answer.

The table is in `replies.sql` beside this file; each service copies it into a
migration of its own.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from beckon.errors.v1.error_reason_pb2 import ErrorReason
from google.protobuf.message import Message

from mesh.errors import AlreadyExists, invalid_field
from mesh.postgres import Connection

DDL_FILE = Path(__file__).with_name("replies.sql")
# Longer than any client retries.
REMEMBERED = timedelta(hours=24)

_M = TypeVar("_M", bound=Message)


def fingerprint(request: Message) -> bytes:
    """Return a hash of what is asked, leaving out the `request_id` itself."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    return sha256(bare.SerializeToString(deterministic=True)).digest()


def parse_request_id(text: str) -> UUID:
    """Return the id; the schema has checked it where it has a rule."""
    try:
        return UUID(text)
    except ValueError:
        raise invalid_field("request_id", "must be a UUID", reason="string.uuid") from None


async def once(
    db: Connection,
    method: str,
    request_id: UUID,
    fingerprint: bytes,
    effect: Callable[[], Awaitable[bytes]],
) -> bytes:
    """Return the answer to `request_id`, running `effect` only if there is none.

    The claim, the effect and the answer commit together: a crash leaves no
    trace, and a concurrent duplicate waits for the first to finish. `effect`
    must work on `db`.

    Raises:
        AlreadyExists: The id was used before for a request with other content.
    """
    async with db.transaction():
        ours = await db.fetchval(
            "INSERT INTO replies (method, request_id, fingerprint) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING RETURNING true",
            method,
            request_id,
            fingerprint,
        )
        if not ours:
            return await _recall(db, method, request_id, fingerprint)
        reply = await effect()
        await db.execute(
            "UPDATE replies SET reply = $3 WHERE method = $1 AND request_id = $2",
            method,
            request_id,
            reply,
        )
        return reply


async def answer_once(
    db: Connection,
    request: Message,
    reply_type: type[_M],
    effect: Callable[[], Awaitable[_M]],
) -> _M:
    """Do `once` for a request message with a `request_id` field.

    Without a `request_id` the effect runs each time, in its transaction.
    """
    request_id: str = getattr(request, "request_id")  # noqa: B009 — Message has no such field
    if not request_id:
        async with db.transaction():
            return await effect()

    async def serialized() -> bytes:
        return (await effect()).SerializeToString()

    reply = await once(
        db,
        request.DESCRIPTOR.full_name,
        parse_request_id(request_id),
        fingerprint(request),
        serialized,
    )
    return reply_type.FromString(reply)


async def forget(db: Connection, *, limit: int = 10_000) -> int:
    """Delete answers older than a day, at most `limit`; return how many."""
    status = await db.execute(
        "DELETE FROM replies WHERE (method, request_id) IN (SELECT method, request_id"
        " FROM replies WHERE create_time < now() - $1::interval LIMIT $2)",
        REMEMBERED,
        limit,
    )
    return int(status.split()[-1])


async def _recall(db: Connection, method: str, request_id: UUID, fingerprint: bytes) -> bytes:
    row = await db.fetchrow(
        "SELECT fingerprint, reply FROM replies WHERE method = $1 AND request_id = $2",
        method,
        request_id,
    )
    if row is None or row["fingerprint"] != fingerprint:
        raise AlreadyExists(
            ErrorReason.ERROR_REASON_REQUEST_ID_REUSED,
            "request_id was used before for a request of other content",
            metadata={"requestId": str(request_id)},
        )
    return bytes(row["reply"])
