"""Asks filters about people, many at once, and for no longer than a turn can wait.

A turn has events of many workspaces: the filter of one that takes too long, or fails, must
keep no other waiting.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple, TypeAlias

import structlog
from asyncpg import exceptions as driver

from mesh import metrics
from mesh.postgres import Connection
from services.profile.model import PersonKey
from services.profile.model.memberships import Answer
from services.profile.model.segments import Binding, Segment
from services.profile.store.definitions import Edition

log = structlog.get_logger(__name__)

# Segments that one statement asks about. Always the same ones together: the database keeps the
# plans of statements that it has seen.
_GROUP = 16
# How long one statement may take about a group, and then about each segment of it by itself.
_TOGETHER_MS = 1000
_ALONE_MS = 250
# After so long, of each of the two, no more statement is begun.
_ALL_SECONDS = 2.0

REST_US = 60_000_000
"""After so long a filter that took too long, or failed, is asked again."""

_BACK = "ROLLBACK TO SAVEPOINT asking; RELEASE SAVEPOINT asking"

# What a filter, or what it reads, is to blame for.
_FAULTS = (driver.QueryCanceledError, driver.DataError, driver.ProgramLimitExceededError)

_PEOPLE = """
SELECT p.profile_id FROM unnest($2::text[]) AS w (profile_id)
CROSS JOIN LATERAL (SELECT p.* FROM profiles AS p WHERE p.workspace = $1
    AND p.profile_id = w.profile_id AND p.merged_into = '' OFFSET 0) AS p
"""


class Look(NamedTuple):
    """A person to be looked at, for one segment."""

    person: PersonKey
    segment: Segment

    @property
    def key(self) -> tuple[str, str, int]:
        """By what the rows are found."""
        return *self.person, self.segment.segment_key


Answers: TypeAlias = dict[tuple[str, str, int], Answer | None]
"""What filters say of people. None: it cannot be said now. Who is no person has none."""


class _Question(NamedTuple):
    """Some segments of a workspace, and who is asked about for which of them."""

    workspace: str
    group: Sequence[Segment]
    masks: Mapping[str, int]

    def one_by_one(self) -> "Iterable[_Question]":
        """Return the same for each segment by itself."""
        for at, segment in enumerate(self.group):
            masks = {person: 1 for person, mask in self.masks.items() if mask & 1 << at}
            if masks:
                yield _Question(self.workspace, [segment], masks)


async def ask(db: Connection, looks: Iterable[Look], edition: Edition, now_us: int) -> Answers:
    """Return what the filters say of these people, however long it takes."""
    answers: Answers = {}
    for question in _questions(looks, edition):
        answers |= await _ask(db, question, now_us)
    return answers


async def ask_in_time(
    db: Connection, looks: Iterable[Look], edition: Edition, now_us: int
) -> Answers:
    """Return what those filters say that say it soon; of the others, that it cannot be said.

    A filter that took too long rests for a while: else every turn would wait for it.
    """
    awake: list[Look] = []
    resting: list[Look] = []
    for one in looks:
        rests = edition.resting.get(one.segment.segment_key, 0) > now_us
        (resting if rests else awake).append(one)
    answers: Answers = {}
    together = _questions(awake, edition)
    failed, left = await _try(db, together, now_us, answers, limit_ms=_TOGETHER_MS)
    alone = [one for question in failed + left for one in question.one_by_one()]
    failed, left = await _try(db, alone, now_us, answers, limit_ms=_ALONE_MS)
    for question in failed:
        segment = question.group[0]
        edition.resting[segment.segment_key] = now_us + REST_US
        metrics.WORKER_FAILURES.labels(worker="segments").inc()
        log.warning(
            "segment_put_off",
            workspace=segment.workspace,
            segment=segment.segment_id,
            people=len(question.masks),
        )
    for question in failed + left + _questions(resting, edition):
        answers |= await _leave(db, question)
    return answers


def _questions(looks: Iterable[Look], edition: Edition) -> list[_Question]:
    wanted: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for one in looks:
        wanted[one.person[0]][one.person[1]].add(one.segment.segment_key)
    questions = []
    for workspace, people in wanted.items():
        segments = edition.segments.get(workspace, ())
        for begin in range(0, len(segments), _GROUP):
            group = segments[begin : begin + _GROUP]
            masks = {}
            for person_id, keys in people.items():
                mask = sum(1 << at for at, each in enumerate(group) if each.segment_key in keys)
                if mask:
                    masks[person_id] = mask
            if masks:
                questions.append(_Question(workspace, group, masks))
    return questions


async def _try(
    db: Connection,
    questions: Sequence[_Question],
    now_us: int,
    answers: Answers,
    *,
    limit_ms: int,
) -> tuple[list[_Question], list[_Question]]:
    """Add what is answered within the limit; return what is not, and what is not even asked."""
    failed: list[_Question] = []
    left: list[_Question] = []
    if not questions:
        return failed, left
    begin = f"SAVEPOINT asking; SET LOCAL statement_timeout = {limit_ms}"
    until = monotonic() + _ALL_SECONDS
    await db.execute(begin)
    for question in questions:
        if monotonic() > until:
            left.append(question)
            continue
        try:
            answers |= await _ask(db, question, now_us)
        except _FAULTS as error:
            failed.append(question)
            log.info("segments_not_asked", workspace=question.workspace, problem=str(error))
            await db.execute(f"{_BACK}; {begin}")
    # Nothing was written: going back takes only the limit away.
    await db.execute(_BACK)
    return failed, left


async def _ask(db: Connection, question: _Question, now_us: int) -> Answers:
    binding = Binding(now_us, first=4)
    asked = ", ".join(
        f"CASE WHEN w.mask & {1 << at} <> 0 THEN {said} END"
        for at, segment in enumerate(question.group)
        for said in (segment.filter.add_to(binding), segment.filter.add_due_to(binding))
    )
    rows = await db.fetch(
        # One by one by the key: joined, the planner may go through the whole workspace.
        f"SELECT p.profile_id, w.mask, {asked}"  # noqa: S608 — values are parameters
        " FROM unnest($2::text[], $3::integer[]) AS w (profile_id, mask)"
        " CROSS JOIN LATERAL (SELECT p.* FROM profiles AS p WHERE p.workspace = $1"
        " AND p.profile_id = w.profile_id AND p.merged_into = '' OFFSET 0) AS p",
        question.workspace,
        list(question.masks),
        list(question.masks.values()),
        *binding.parameters,
    )
    return {
        (question.workspace, row[0], segment.segment_key): Answer(
            row[2 + 2 * at] is True, row[3 + 2 * at]
        )
        for row in rows
        for at, segment in enumerate(question.group)
        if row[1] & 1 << at
    }


async def _leave(db: Connection, question: _Question) -> Answers:
    """Say of those who are people that nothing can be said."""
    rows = await db.fetch(_PEOPLE, question.workspace, list(question.masks))
    return {
        (question.workspace, row[0], segment.segment_key): None
        for row in rows
        for at, segment in enumerate(question.group)
        if question.masks[row[0]] & 1 << at
    }
