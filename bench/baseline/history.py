"""What the API writes: one transaction a request, a statement a table, whatever the size of the batch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from bench.baseline import campaign
from bench.campaign import EVENT_TYPE


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a request, as a client sends it."""

    id: str
    type: str
    profile: str
    time: datetime
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    """Left as the caller's JSON: PostgreSQL takes it as it is, and few events need it decoded."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message that an accepted event owes."""

    id: UUID
    event: Event
    properties: dict[str, Any]


_PROPERTIES = msgspec.json.Decoder(dict[str, Any])

_EVENTS = """
INSERT INTO events (id, profile, type, occur_time, properties)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
ON CONFLICT (id) DO NOTHING RETURNING id
"""
_PROFILES = """
INSERT INTO profiles (id, attributes, last_seen_time)
SELECT * FROM unnest($1::text[], $2::jsonb[], $3::timestamptz[])
ON CONFLICT (id) DO UPDATE SET
    attributes = CASE WHEN excluded.attributes = '{}' THEN profiles.attributes
                      ELSE profiles.attributes || excluded.attributes END,
    last_seen_time = greatest(profiles.last_seen_time, excluded.last_seen_time)
"""
_COUNTERS = """
INSERT INTO counters (profile, type, count, first_time, last_time)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[])
ON CONFLICT (profile, type) DO UPDATE SET
    count = counters.count + excluded.count,
    first_time = least(counters.first_time, excluded.first_time),
    last_time = greatest(counters.last_time, excluded.last_time)
"""
_MESSAGES = """
INSERT INTO messages (id, event_id, profile)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) ON CONFLICT (id) DO NOTHING
"""


async def store(connection: asyncpg.Connection, events: Sequence[Event]) -> list[Message]:
    """Store a request's events and return the messages they owe; on disk when it returns.

    An event id seen before is left out of everything: history, counters, messages.
    """
    # Rows are locked in the order of their keys everywhere, so that two requests never wait for each other in a circle.
    unique = sorted(
        {event.id: event for event in reversed(events)}.values(), key=lambda event: event.id
    )
    async with connection.transaction():
        rows = await connection.fetch(
            _EVENTS,
            [event.id for event in unique],
            [event.profile for event in unique],
            [event.type for event in unique],
            [event.time for event in unique],
            [bytes(event.properties).decode() for event in unique],
        )
        fresh_ids = {row[0] for row in rows}
        fresh = [event for event in unique if event.id in fresh_ids]
        if not fresh:
            return []
        await _upsert_profiles(connection, fresh)
        await _add_counters(connection, fresh)
        messages = _judge(fresh)
        if messages:
            await connection.execute(
                _MESSAGES,
                [message.id for message in messages],
                [message.event.id for message in messages],
                [message.event.profile for message in messages],
            )
    return messages


def _judge(events: Sequence[Event]) -> list[Message]:
    """Return the messages that the events owe; only events of the campaign's type are decoded."""
    wanted = ((event, _decode(event)) for event in events if event.type == EVENT_TYPE)
    return [
        Message(campaign.message_id(event.id), event, properties)
        for event, properties in wanted
        if campaign.triggers(event.type, properties)
    ]


def _decode(event: Event) -> dict[str, Any]:
    return _PROPERTIES.decode(event.properties)


async def _upsert_profiles(connection: asyncpg.Connection, events: Sequence[Event]) -> None:
    """Set attributes and the time each person was last seen, a row a person."""
    attributes: dict[str, dict[str, Any]] = {}
    seen: dict[str, datetime] = {}
    for event in events:
        known = attributes.setdefault(event.profile, {})
        if event.type == "profile_updated":
            known.update(_decode(event))
        last = seen.get(event.profile)
        seen[event.profile] = event.time if last is None or event.time > last else last
    people = sorted(seen)
    await connection.execute(
        _PROFILES,
        people,
        [
            msgspec.json.encode(attributes[person]).decode() if attributes[person] else "{}"
            for person in people
        ],
        [seen[person] for person in people],
    )


async def _add_counters(connection: asyncpg.Connection, events: Sequence[Event]) -> None:
    """Count the events of each person and type, a row a pair."""
    counts: dict[tuple[str, str], list[datetime]] = {}
    for event in events:
        counts.setdefault((event.profile, event.type), []).append(event.time)
    pairs = sorted(counts)
    await connection.execute(
        _COUNTERS,
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
        [len(counts[pair]) for pair in pairs],
        [min(counts[pair]) for pair in pairs],
        [max(counts[pair]) for pair in pairs],
    )
