"""Makes sure that an event counts once, whoever repeats it, in whatever company, and when (G3).

A crash is a connection that PostgreSQL ends in the middle; a lost reply is a call made again.
"""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from beckon.profile.v1 import observation_service_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import Unavailable
from services.profile.store import Turn
from tests.effort import examples
from tests.integration.profile.world import NOW, Profiles, a_record, an_event

ORDERS = ["order_placed"]


def a_mixed_record(position: str = "7", partition: int = 3) -> pb.ObservedRecord:
    """Return a record with everything that can be answered: standings, a repeat, refusals."""
    return a_record(
        position,
        an_event("m1"),
        an_event("m2", kind="product_viewed"),
        an_event("m1"),
        an_event("m3"),
        an_event("m2", profile="ben"),
        an_event("m4", kind="profile_updated", properties={"time_zone": "nowhere"}),
        an_event("m5", properties=b'{"a": "\\u0000"}'),
        an_event("m6", workspace="bolt"),
        partition=partition,
    )


async def test_a_lost_reply_is_answered_again_word_for_word(profiles: Profiles) -> None:
    first = await profiles.observe(a_mixed_record(), wanted=ORDERS)
    again = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert sorted(first.event_standings) == [0, 3]
    assert list(first.duplicate_events) == [2]
    assert sorted(first.failed_events) == [4, 5, 6, 7]
    assert again == first
    assert await profiles.count() == 2
    assert await profiles.history() == ["m1", "m2", "m3"]


async def test_a_repeat_is_answered_as_of_then_although_the_person_went_on(
    profiles: Profiles,
) -> None:
    first = await profiles.observe(a_mixed_record(), wanted=ORDERS)
    await profiles.observe(a_record("8", an_event("later"), partition=3), wanted=ORDERS)

    again = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert again == first
    assert await profiles.count() == 3


async def test_a_repeat_in_other_company_counts_record_by_record(profiles: Profiles) -> None:
    before, after = (
        a_record("6", an_event("before"), partition=3),
        a_record("8", an_event("after"), partition=3),
    )
    first = await profiles.observe(before, a_mixed_record(), wanted=ORDERS)

    again = await profiles.observe(a_mixed_record(), after, wanted=ORDERS)

    # One event stands before it in the first call, none in the second.
    assert [one - 1 for one in sorted(first.event_standings)[1:]] == [0, 3]
    assert sorted(again.event_standings) == [0, 3, 8]
    assert again.standings[again.event_standings[3]] == first.standings[first.event_standings[4]]
    assert again.standings[again.event_standings[8]].counters[0].count == 4
    assert [one - 1 for one in first.duplicate_events] == list(again.duplicate_events) == [2]
    assert {at - 1: status for at, status in first.failed_events.items()} == again.failed_events


async def test_what_is_asked_for_later_is_told_as_of_now(profiles: Profiles) -> None:
    """A campaign was launched between the first call and its repeat."""
    await profiles.observe(a_mixed_record(), wanted=ORDERS)

    again = await profiles.observe(a_mixed_record(), wanted=[*ORDERS, "product_viewed"])

    assert sorted(again.event_standings) == [0, 1, 3]
    assert len({*again.event_standings.values()}) == 3
    assert await profiles.count("product_viewed") == 1


async def test_a_record_that_had_nothing_to_answer_is_known_by_its_events(
    profiles: Profiles,
) -> None:
    record = a_record("1", an_event("e1"), an_event("e2"))
    await profiles.observe(record)

    again = await profiles.observe(record, wanted=ORDERS)

    assert not again.duplicate_events
    assert [one.counters[0].count for one in again.standings] == [2, 2]
    assert await profiles.count() == 2


async def test_after_answers_are_forgotten_a_repeat_still_changes_nothing(
    profiles: Profiles,
) -> None:
    await profiles.observe(a_mixed_record(), wanted=ORDERS)
    profiles.clock.advance(timedelta(days=1, seconds=1))
    forgotten = await profiles.store.forget_answers(before=profiles.clock.now() - timedelta(days=1))

    again = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert forgotten == 1
    assert sorted(again.event_standings) == [0, 3]
    assert list(again.duplicate_events) == [2]
    assert sorted(again.failed_events) == [4, 5, 6, 7]
    assert await profiles.count() == 2


async def test_a_repeat_is_known_however_much_later_it_comes(profiles: Profiles) -> None:
    """The window is between receipts, and a repeat was received when it was received."""
    profiles.window = timedelta(hours=1)
    profiles.__post_init__()
    record = a_record("1", an_event())
    await profiles.observe(record)
    await profiles.observe(a_record("2", an_event("e2"), received=NOW + timedelta(days=40)))

    await profiles.observe(record)

    assert await profiles.count() == 2


async def test_another_position_is_a_duplicate(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event()))

    answer = await profiles.observe(a_record("2", an_event()), wanted=ORDERS)

    assert list(answer.duplicate_events) == [0]
    assert not answer.event_standings
    assert await profiles.count() == 1


async def test_another_partition_is_a_duplicate(profiles: Profiles) -> None:
    """The number of partitions was changed between the two."""
    await profiles.observe(a_record("1", an_event(), partition=1))

    answer = await profiles.observe(a_record("1", an_event(), partition=2))

    assert list(answer.duplicate_events) == [0]
    assert await profiles.count() == 1


async def test_other_content_is_refused(profiles: Profiles) -> None:
    await profiles.observe(a_record("1", an_event(properties={"total": 1})))

    others = [
        an_event(properties={"total": 2}),
        an_event(kind="order_paid", properties={"total": 1}),
        an_event(profile="ben", properties={"total": 1}),
        an_event(occurred=NOW - timedelta(seconds=1), properties={"total": 1}),
    ]
    answer = await profiles.observe(a_record("2", *others))

    assert sorted(answer.failed_events) == [0, 1, 2, 3]
    assert await profiles.history() == ["e1"]


@pytest.mark.parametrize("written_in", [False, True])
async def test_an_event_without_a_time_is_the_same_whenever_it_is_received(
    profiles: Profiles, written_in: bool
) -> None:
    later = NOW + timedelta(hours=2)
    await profiles.observe(a_record("1", an_event(occurred=NOW if written_in else None)))
    again = an_event(occurred=later if written_in else None)

    answer = await profiles.observe(a_record("2", again, received=later))

    assert list(answer.duplicate_events) == [0]


async def test_an_event_is_the_same_under_another_correction_of_its_clock(
    profiles: Profiles,
) -> None:
    event = an_event(occurred=NOW - timedelta(hours=1))
    await profiles.observe(a_record("1", event, offset=timedelta(minutes=5)))

    answer = await profiles.observe(a_record("2", event, offset=timedelta(minutes=6)))

    assert list(answer.duplicate_events) == [0]


@pytest.mark.parametrize("window", [timedelta(hours=1), timedelta(days=7), timedelta(days=30)])
async def test_the_window_has_sharp_edges(profiles: Profiles, window: timedelta) -> None:
    profiles.window = window
    profiles.__post_init__()
    await profiles.observe(a_record("1", an_event()))

    edge = await profiles.observe(a_record("2", an_event(), received=NOW + window))
    after = await profiles.observe(
        a_record("3", an_event(), received=NOW + window + timedelta(microseconds=1))
    )

    assert list(edge.duplicate_events) == [0]
    assert not after.ByteSize()
    assert await profiles.count() == 2


async def test_two_workers_on_one_partition_count_once(profiles: Profiles) -> None:
    """A lease ran out, and its owner does not know yet."""
    records = [
        a_record(f"{at}", *(an_event(f"e{at}-{one}", profile=f"p{one}") for one in range(20)))
        for at in range(10)
    ]

    async def work() -> None:
        for record in records:
            await profiles.observe(record, wanted=ORDERS)

    await asyncio.gather(work(), work(), work())

    assert [await profiles.count(profile=f"p{one}") for one in range(20)] == [10] * 20
    assert len(await profiles.history()) == 200


async def test_two_workers_answer_the_same(profiles: Profiles) -> None:
    for position in range(20):
        record = a_record(
            f"{position}",
            an_event(f"{position}-1"),
            an_event(f"{position}-2"),
            an_event(f"{position}-1"),
            partition=3,
        )

        answers = await asyncio.gather(*(profiles.observe(record, wanted=ORDERS) for _ in range(4)))

        assert all(answer == answers[0] for answer in answers)
    assert await profiles.count() == 40


@pytest.mark.parametrize("step", ["read", "find_earlier", "recall"])
async def test_another_worker_may_commit_between_any_two_steps(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The lease ran out while this worker was asleep between two statements."""
    await profiles.observe(a_record("1", an_event("e1"), partition=3))
    real = getattr(Turn, step)
    others: list[pb.ObserveEventsResponse] = []

    async def overtaken(turn: Turn, *args: object, **kwargs: object) -> object:
        found = await real(turn, *args, **kwargs)
        if not others:
            others.append(pb.ObserveEventsResponse())
            others[0] = await profiles.observe(a_mixed_record(), wanted=ORDERS)
        return found

    monkeypatch.setattr(Turn, step, overtaken)
    answer = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert answer == others[0]
    assert await profiles.count() == 3


@pytest.mark.parametrize(
    "step",
    ["types", "read", "find_erased", "find_edges", "find_earlier", "recall", "write", "remember"],
)
async def test_a_crash_in_the_middle_leaves_nothing_behind(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await profiles.observe(a_record("1", an_event("e1"), partition=3))
    real = getattr(Turn, step)

    async def cut(turn: Turn, *args: object, **kwargs: object) -> object:
        answer = await real(turn, *args, **kwargs)
        other = await asyncpg.connect(profiles.url)
        await other.execute(
            "SELECT pg_terminate_backend($1)",
            await turn._db.fetchval("SELECT pg_backend_pid()"),
        )
        await other.close()
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Turn, step, cut)
        with pytest.raises(Unavailable):
            await profiles.observe(a_mixed_record(), wanted=ORDERS)
    assert await profiles.history() == ["e1"]
    assert await profiles.count() == 1
    answer = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert sorted(answer.event_standings) == [0, 3]
    assert await profiles.count() == 3


async def test_a_crash_after_the_commit_is_a_lost_reply(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = profiles.store.run

    async def lost(*args: object, **kwargs: object) -> None:
        await real(*args, **kwargs)  # type: ignore[arg-type]
        raise Unavailable(14, "gone")  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(profiles.store, "run", lost)
        with pytest.raises(Unavailable):
            await profiles.observe(a_mixed_record(), wanted=ORDERS)
    answer = await profiles.observe(a_mixed_record(), wanted=ORDERS)

    assert [answer.standings[at].counters[0].count for at in (0, 1)] == [1, 2]
    assert await profiles.count() == 2


STREAM = [
    a_record(
        f"{at}",
        *(an_event(f"e{(at * 3 + one) % 17}", profile=f"p{one % 2}") for one in range(3)),
        partition=at % 2,
    )
    for at in range(10)
]


@settings(
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.data())
async def test_any_cutting_and_repeating_of_the_log_ends_the_same(
    profiles: Profiles, data: st.DataObject
) -> None:
    """A worker reads on from where it believes to be, with turns of any size."""
    for table in ("profiles", "history", "answers"):
        await profiles.fetch(f"DELETE FROM {table}")
    answers: dict[str, pb.ObserveEventsResponse] = {}
    at = 0
    while at < len(STREAM):
        turn = STREAM[at : at + data.draw(st.integers(1, 4))]
        await profiles.observe(*turn, wanted=ORDERS)
        for record in turn:
            # Each record of the turn, alone, must be told as it was told in company.
            alone = await profiles.observe(record, wanted=ORDERS)
            assert answers.setdefault(record.position, alone) == alone
        at += len(turn) - data.draw(st.sampled_from([0, 0, 0, 1, 2]))
        at = max(at, 0)

    seen: dict[str, str] = {}
    for record in STREAM:
        for event in record.record.events:
            seen.setdefault(event.event_id, event.profile)
    for person in ("p0", "p1"):
        expected = sum(name.endswith(f"/{person}") for name in seen.values())
        assert await profiles.count(profile=person) == expected
    assert sorted(await profiles.history()) == sorted(seen)
