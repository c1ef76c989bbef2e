"""Makes sure that old history goes as whole weeks, that nobody waits for it, and that none returns."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

import pytest

from mesh.errors import Unavailable
from mesh.postgres import connect
from mesh.settings import BadSettings, load
from services.profile.config import Config
from services.profile.rules.retention import oldest_week
from services.profile.store.erasures import Erasures
from services.profile.store.retention import Retention, week_table
from services.profile.worker import Housekeeper
from tests.integration.profile.forgetting import REFUSED_FOR, Forgetting
from tests.integration.profile.world import NOW, WEEKS, Profiles, a_record, an_event, micros

WEEK = timedelta(weeks=1)
KEPT = 10
# 2026-11-19, in which NOW lies; weeks begin on Thursdays, as the epoch did.
THIS_WEEK = micros(NOW) // 604_800_000_000
SIZE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relname LIKE 'history\\_%'
"""
DELETED = """
SELECT coalesce(sum(n_tup_del), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'history%'
"""
_T = TypeVar("_T")


def housekeeper(profiles: Profiles) -> Housekeeper:
    return Housekeeper(
        profiles.store,
        Retention(profiles.database),
        Erasures(profiles.database),
        profiles.clock,
        weeks_ahead=1,
        weeks_kept=KEPT,
        answers_kept=timedelta(days=1),
    )


async def weeks(profiles: Profiles) -> list[str]:
    return [row["relname"] for row in await profiles.fetch(WEEKS)]


async def filled(profiles: Profiles, *, ages: range, events: int = 1) -> None:
    """Write events of weeks that are so many weeks old."""
    for age in ages:
        received = NOW - age * WEEK
        theirs = [an_event(f"e{age}-{at}", properties={"x": "y" * 200}) for at in range(events)]
        await profiles.observe(a_record(f"{1000 - age}", *theirs, received=received))


async def quickly(work: Awaitable[_T]) -> _T:
    return await asyncio.wait_for(work, 5)


async def test_whole_weeks_go_and_the_last_ones_stay(profiles: Profiles) -> None:
    await filled(profiles, ages=range(8, 13))

    await housekeeper(profiles).run_once()

    kept = [week_table(THIS_WEEK - age) for age in (10, 9, 8, 0, -1)]
    assert await weeks(profiles) == kept
    assert await profiles.history() == ["e10-0", "e9-0", "e8-0"]


async def test_a_week_goes_when_its_last_moment_is_old_enough(profiles: Profiles) -> None:
    await filled(profiles, ages=range(10, 11))
    end_of_week = (THIS_WEEK + 1) * 604_800_000_000
    profiles.clock.advance(timedelta(microseconds=end_of_week - 1 - micros(NOW)))
    await housekeeper(profiles).run_once()
    before = await profiles.history()

    profiles.clock.advance(timedelta(microseconds=1))
    await housekeeper(profiles).run_once()

    assert before == ["e10-0"]
    assert await profiles.history() == []


async def test_the_space_is_given_back_and_no_row_is_deleted(profiles: Profiles) -> None:
    await filled(profiles, ages=range(9, 13), events=2000)
    (before,) = await profiles.fetch(SIZE)
    (deleted,) = await profiles.fetch(DELETED)

    await housekeeper(profiles).run_once()

    (after,) = await profiles.fetch(SIZE)
    assert after[0] < before[0] * 0.6
    assert (await profiles.fetch(DELETED))[0][0] == deleted[0]


async def test_events_flow_while_somebody_reads_what_is_to_go(profiles: Profiles) -> None:
    """A reader in the middle keeps the week from going, and nobody else from anything."""
    await filled(profiles, ages=range(11, 13))
    await filled(profiles, ages=range(1))
    async with asyncio.TaskGroup() as group, profiles.database.transaction() as reader:
        await reader.fetch("SELECT count(*) FROM history")
        dropping = group.create_task(housekeeper(profiles).run_once())
        for at in range(5):
            await quickly(profiles.observe(a_record(f"2{at}", an_event(f"new{at}"))))
        waited = not dropping.done()
        read = await reader.fetchval("SELECT count(*) FROM history WHERE receive_us > 0")

    assert waited
    # The reader read on as if nothing were.
    assert read >= 1
    assert await profiles.count() == 8
    assert week_table(THIS_WEEK - 12) not in await weeks(profiles)


async def test_what_was_interrupted_is_ended_by_the_next(profiles: Profiles) -> None:
    """The wait for a reader is cut short: the week is half detached, and read by nobody."""
    await filled(profiles, ages=range(11, 13))
    impatient = f"{profiles.url}?options=-c%20statement_timeout%3D300"
    async with (
        profiles.database.transaction() as reader,
        connect(impatient, schema="profile", timeout=timedelta(seconds=0.3)) as database,
    ):
        await reader.fetch("SELECT count(*) FROM history")
        with pytest.raises(Unavailable):
            await Retention(database).drop_weeks(before=THIS_WEEK - KEPT)
    pending = await profiles.fetch("SELECT 1 FROM pg_inherits WHERE inhdetachpending")

    dropped = await Retention(profiles.database).drop_weeks(before=THIS_WEEK - KEPT)

    assert len(pending) == 1
    assert dropped == [week_table(THIS_WEEK - 12), week_table(THIS_WEEK - 11)]
    assert await weeks(profiles) == []


async def test_what_was_detached_and_not_dropped_is_dropped_by_the_next(
    profiles: Profiles,
) -> None:
    await filled(profiles, ages=range(11, 12))
    async with profiles.database.connection() as db:
        table = week_table(THIS_WEEK - 11)
        await db.execute(f"ALTER TABLE history DETACH PARTITION {table} CONCURRENTLY")

    await housekeeper(profiles).run_once()

    assert table not in await weeks(profiles)


async def test_several_keepers_do_not_get_in_each_others_way(profiles: Profiles) -> None:
    await filled(profiles, ages=range(9, 14))

    await asyncio.gather(*(housekeeper(profiles).run_once() for _ in range(4)))
    await housekeeper(profiles).run_once()

    assert (await weeks(profiles))[0] == week_table(THIS_WEEK - 10)


async def test_answers_to_requests_are_forgotten_after_a_day(profiles: Profiles) -> None:
    await profiles.fetch(
        "INSERT INTO replies (method, request_id, fingerprint, reply, create_time)"
        " SELECT 'm', gen_random_uuid(), '', '', now() - age * interval '1 hour'"
        " FROM unnest(ARRAY[1, 23, 25, 100]) AS w (age)"
    )

    await housekeeper(profiles).run_once()

    (row,) = await profiles.fetch("SELECT count(*) FROM replies")
    assert row[0] == 2


async def test_the_erased_are_let_in_again_and_their_receipts_stay(profiles: Profiles) -> None:
    forgetting = Forgetting(profiles)
    erasure = await forgetting.erase()
    profiles.clock.advance(REFUSED_FOR - timedelta(seconds=1))
    await housekeeper(profiles).run_once()
    (before,) = await profiles.fetch("SELECT count(*) FROM tombstones")
    profiles.clock.advance(timedelta(seconds=1))

    await housekeeper(profiles).run_once()

    (after,) = await profiles.fetch("SELECT count(*) FROM tombstones")
    assert (before[0], after[0]) == (1, 0)
    assert (await forgetting.get(erasure.name)).name == erasure.name


@pytest.mark.parametrize("text", ["9", "521", "many"])
def test_the_weeks_kept_have_bounds(text: str) -> None:
    with pytest.raises(BadSettings, match="PROFILE_HISTORY_WEEKS"):
        load(Config, {"PROFILE_DATABASE_URL": "x", "PROFILE_HISTORY_WEEKS": text,
                      "BECKON_KEYS_FILE": "x"})  # fmt: skip


def test_the_least_that_is_kept_holds_the_longest_window_and_the_longest_trait() -> None:
    now_us = micros(NOW)

    kept_us = now_us - oldest_week(now_us, weeks=10) * 604_800_000_000

    assert kept_us > timedelta(days=62) // timedelta(microseconds=1)


async def test_what_was_received_in_a_dropped_week_is_refused_and_makes_no_week(
    profiles: Profiles,
) -> None:
    """Whether it was counted once nobody can tell any more: it goes to the quarantine."""
    long_ago = NOW - 58 * WEEK
    record = a_record("1", an_event("old1"), an_event("old2"), received=long_ago)
    young = a_record("2", an_event("young"))

    answer = await profiles.observe(record, young, wanted=["order_placed"])
    again = await profiles.observe(record, young, wanted=["order_placed"])

    assert sorted(answer.failed_events) == [0, 1]
    assert "receive_time_us" in answer.failed_events[0].message
    assert sorted(answer.event_standings) == [2]
    assert again == answer
    assert await profiles.history() == ["young"]
    assert await weeks(profiles) == [week_table(THIS_WEEK)]


async def test_what_was_received_in_the_oldest_week_that_is_kept_counts_once(
    profiles: Profiles,
) -> None:
    oldest_us = (THIS_WEEK - 57) * 604_800_000_000
    first_moment = NOW + timedelta(microseconds=oldest_us - micros(NOW))
    record = a_record("1", an_event("e1"), received=first_moment)
    too_old = a_record("2", an_event("e2"), received=first_moment - timedelta(microseconds=1))

    answer = await profiles.observe(record, too_old)
    await profiles.observe(record, too_old)

    assert sorted(answer.failed_events) == [1]
    assert await profiles.history() == ["e1"]
