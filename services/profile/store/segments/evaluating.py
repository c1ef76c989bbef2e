"""Looks again at people: by SQL, for all segments that may have changed at once."""

from collections.abc import Collection, Sequence
from uuid import UUID, uuid5

import msgspec

from mesh.postgres import Connection
from services.profile.model import PersonKey
from services.profile.model.changes import DerivedEvent, Touched
from services.profile.model.memberships import (
    SEGMENT_ENTERED,
    SEGMENT_EXITED,
    Answer,
    Membership,
)
from services.profile.model.segments import Segment
from services.profile.model.watches import CONDITION, CONDITION_ENTERED, CONDITION_EXITED
from services.profile.rules.segments import OUTSIDE, concerns, put_off, settle
from services.profile.store import derived_events
from services.profile.store.definitions import Edition
from services.profile.store.rows import columns
from services.profile.store.segments.asking import REST_US, Look, ask, ask_in_time

_CURRENT = """
SELECT m.workspace, m.person_id, m.segment_key, m.member, m.transition, m.enter_us, m.exit_us,
    m.due_us
FROM unnest($1::text[], $2::text[]) AS w (workspace, person_id)
JOIN segment_members AS m USING (workspace, person_id)
"""
_WRITE = """
INSERT INTO segment_members (workspace, person_id, segment_key, member, transition, enter_us,
    exit_us, due_us)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::integer[],
    $6::bigint[], $7::bigint[], $8::bigint[])
ON CONFLICT (workspace, person_id, segment_key) DO UPDATE SET member = excluded.member,
    transition = excluded.transition, enter_us = excluded.enter_us, exit_us = excluded.exit_us,
    due_us = excluded.due_us
"""
_NAMESPACE = UUID("4ad3e0a6-2a2c-5c1c-9c0e-2a1f6f1d7b1e")


async def reevaluate(
    db: Connection,
    touched: Sequence[Touched],
    edition: Edition,
    now_us: int,
    *,
    silent: bool = False,
) -> None:
    """Look again at the segments that may have changed for who was touched.

    The caller's transaction holds the rows of all of them, so that nobody else changes
    how they stand meanwhile. Who goes in or out is told of by an event, unless `silent`.
    """
    looks = {
        (one.key, segment.segment_key): Look(one.key, segment)
        for one in touched
        for segment in edition.segments.get(one.key[0], ())
        if concerns(one, segment.filter.depends_on)
    }
    if looks:
        await look(db, list(looks.values()), edition, now_us, silent=silent)


async def look(
    db: Connection,
    looks: Sequence[Look],
    edition: Edition,
    now_us: int,
    *,
    silent: bool = False,
    patient: bool = False,
) -> int:
    """Write how these people stand now, and owe events; return how many went in or out.

    A filter that says nothing in time leaves people as they are, and due in a while; who
    is `patient` waits until the database gives up.
    """
    answers = await (ask if patient else ask_in_time)(db, looks, edition, now_us)
    before = await _current(db, {one.person for one in looks})
    written: list[tuple[Look, Membership]] = []
    for one in looks:
        if one.key not in answers:
            # Nobody, or somebody under another name: who united her has seen to that.
            continue
        said, known = answers[one.key], before.get(one.key)
        if said is None:
            after = put_off(known, now_us + REST_US)
        else:
            after = settle(known, said, now_us=now_us, building=one.segment.building)
        if after is not None:
            written.append((one, after))
    # In a fixed order: two writers that share rows then wait for each other in a line.
    written.sort(key=lambda each: each[0].key)
    await _write(db, written)
    moved = [
        (one, after)
        for one, after in written
        if after.member != before.get(one.key, OUTSIDE).member
    ]
    told = [
        each for each in moved if not silent and _is_told(each[0].segment, each[0].key in before)
    ]
    await derived_events.owe(db, [_event(one, after, now_us) for one, after in told])
    return len(moved)


def _is_told(segment: Segment, known: bool) -> bool:  # noqa: FBT001 — called right here
    """Return whether going in or out of it is told of; `known`: it was known how she stood.

    A condition is heard from the beginning, of whom it was looked at before she changed.
    """
    return not segment.building or (known and segment.segment_id.startswith(CONDITION))


async def note_before(
    db: Connection, people: Collection[PersonKey], edition: Edition, now_us: int
) -> None:
    """Write how people stand to conditions that are being built, before anything changes of them.

    So that what they do while everybody is looked at is told of all the same.
    """
    building = {
        workspace: [
            one
            for one in edition.segments.get(workspace, ())
            if one.building and one.segment_id.startswith(CONDITION)
        ]
        for workspace in {key[0] for key in people}
    }
    looks = [Look(key, segment) for key in people for segment in building[key[0]]]
    if not looks:
        return
    known = await _current(db, people)
    looks = [one for one in looks if one.key not in known]
    answers = await ask_in_time(db, looks, edition, now_us)
    written = []
    for one in sorted(looks, key=lambda each: each.key):
        said = answers.get(one.key, Answer(holds=False, due_us=None))
        if said is not None:
            after = settle(None, said, now_us=now_us, building=True)
            if after is not None:
                written.append((one, after))
    await _write(db, written)


async def _current(
    db: Connection, people: Collection[PersonKey]
) -> dict[tuple[str, str, int], Membership]:
    rows = await db.fetch(_CURRENT, *columns(people, 2))
    return {(row[0], row[1], row[2]): Membership(*row[3:]) for row in rows}


async def _write(db: Connection, written: Sequence[tuple[Look, Membership]]) -> None:
    if written:
        rows = [(*one.key, *after) for one, after in written]
        await db.execute(_WRITE, *columns(rows, 8))


def _event(one: Look, after: Membership, now_us: int) -> DerivedEvent:
    workspace, person_id, key = one.key
    place = f"{workspace}/{key}/{person_id}/{after.transition}/{now_us}"
    entered, exited, name, value = _told_as(one.segment.segment_id)
    return DerivedEvent(
        workspace=workspace,
        profile_id=person_id,
        event_id=f"segment-{uuid5(_NAMESPACE, place)}",
        type=entered if after.member else exited,
        occur_us=now_us,
        properties=msgspec.json.encode({name: value}).decode(),
    )


def _told_as(segment_id: str) -> tuple[str, str, str, str]:
    """Return the types of the events, and the property that names it, with its value."""
    if segment_id.startswith(CONDITION):
        condition = segment_id.removeprefix(CONDITION)
        return CONDITION_ENTERED, CONDITION_EXITED, "condition", condition
    return SEGMENT_ENTERED, SEGMENT_EXITED, "segment", segment_id
