"""Looks again at people: by SQL, for all segments that may have changed at once."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
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
from services.profile.model.segments import Binding, Segment
from services.profile.rules.segments import OUTSIDE, concerns, settle
from services.profile.store import derived_events
from services.profile.store.definitions import Edition
from services.profile.store.rows import columns

# Segments that one statement asks about. Always the same ones together: the database keeps the
# plans of statements that it has seen.
_GROUP = 16

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


class Look(NamedTuple):
    """A person to be looked at, for one segment."""

    person: PersonKey
    segment: Segment

    @property
    def key(self) -> tuple[str, str, int]:
        """By what the rows are found."""
        return *self.person, self.segment.segment_key


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
) -> int:
    """Write how these people stand now, and owe events; return how many went in or out."""
    answers = await answer(db, looks, edition, now_us)
    before = await _current(db, {one.person for one in looks})
    written: list[tuple[Look, Membership]] = []
    for one in looks:
        said = answers.get(one.key)
        if said is None:
            # Nobody, or somebody under another name: who united her has seen to that.
            continue
        after = settle(before.get(one.key), said, now_us=now_us, building=one.segment.building)
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
    told = [each for each in moved if not (silent or each[0].segment.building)]
    await derived_events.owe(db, [_event(one, after, now_us) for one, after in told])
    return len(moved)


async def answer(
    db: Connection, looks: Iterable[Look], edition: Edition, now_us: int
) -> dict[tuple[str, str, int], Answer]:
    """Return what the filters say of these people; of who is no person, nothing."""
    wanted: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for one in looks:
        wanted[one.person[0]][one.person[1]].add(one.segment.segment_key)
    answers: dict[tuple[str, str, int], Answer] = {}
    for workspace, people in wanted.items():
        segments = edition.segments.get(workspace, ())
        for begin in range(0, len(segments), _GROUP):
            group = segments[begin : begin + _GROUP]
            await _ask(db, workspace, people, group, now_us, answers)
    return answers


async def _ask(
    db: Connection,
    workspace: str,
    people: Mapping[str, Collection[int]],
    group: Sequence[Segment],
    now_us: int,
    answers: dict[tuple[str, str, int], Answer],
) -> None:
    masks = {}
    for person_id, keys in people.items():
        mask = sum(1 << at for at, segment in enumerate(group) if segment.segment_key in keys)
        if mask:
            masks[person_id] = mask
    if not masks:
        return
    binding = Binding(now_us, first=4)
    asked = ", ".join(
        f"CASE WHEN w.mask & {1 << at} <> 0 THEN {said} END"
        for at, segment in enumerate(group)
        for said in (segment.filter.add_to(binding), segment.filter.add_due_to(binding))
    )
    rows = await db.fetch(
        # One by one by the key: joined, the planner may go through the whole workspace.
        f"SELECT p.profile_id, w.mask, {asked}"  # noqa: S608 — values are parameters
        " FROM unnest($2::text[], $3::integer[]) AS w (profile_id, mask)"
        " CROSS JOIN LATERAL (SELECT p.* FROM profiles AS p WHERE p.workspace = $1"
        " AND p.profile_id = w.profile_id AND p.merged_into = '' OFFSET 0) AS p",
        workspace,
        list(masks),
        list(masks.values()),
        *binding.parameters,
    )
    for row in rows:
        for at, segment in enumerate(group):
            if row[1] & 1 << at:
                key = workspace, row[0], segment.segment_key
                answers[key] = Answer(row[2 + 2 * at] is True, row[3 + 2 * at])


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
    return DerivedEvent(
        workspace=workspace,
        profile_id=person_id,
        event_id=f"segment-{uuid5(_NAMESPACE, place)}",
        type=SEGMENT_ENTERED if after.member else SEGMENT_EXITED,
        occur_us=now_us,
        properties=msgspec.json.encode({"segment": one.segment.segment_id}).decode(),
    )
