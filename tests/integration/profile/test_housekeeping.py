"""Makes sure that the tables are ready before they are needed, stay small, and are read by key."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from mesh.postgres import connect
from mesh.server import Stopping
from mesh.settings import BadSettings, load
from services.profile.config import Config
from services.profile.store import Observations
from services.profile.store.erasures import Erasures
from services.profile.store.retention import Retention
from services.profile.worker import Housekeeper
from stack.servers import Postgres
from tests.integration.profile.world import WEEKS, Profiles, a_record, an_event
from tests.waiting import eventually


def housekeeper(profiles: Profiles) -> Housekeeper:
    return Housekeeper(
        profiles.store,
        Retention(profiles.database),
        Erasures(profiles.database),
        profiles.clock,
        weeks_ahead=2,
        weeks_kept=10,
        answers_kept=timedelta(days=1),
    )


async def weeks(profiles: Profiles) -> list[str]:
    return [row["relname"] for row in await profiles.fetch(WEEKS)]


async def test_weeks_are_made_ahead_and_once(profiles: Profiles) -> None:
    keeper = housekeeper(profiles)

    await asyncio.gather(*(keeper.run_once() for _ in range(4)))

    assert await weeks(profiles) == ["history_20261119", "history_20261126", "history_20261203"]


async def test_the_next_week_is_made_while_events_flow(profiles: Profiles) -> None:
    keeper = housekeeper(profiles)
    await keeper.run_once()
    async with profiles.database.transaction() as busy:
        # A writer in the middle of its turn must not hold up the making of weeks, nor be held up.
        await busy.execute("LOCK TABLE history IN ROW EXCLUSIVE MODE")
        profiles.clock.advance(timedelta(weeks=1))
        await asyncio.wait_for(keeper.run_once(), 5)

    assert (await weeks(profiles))[-1] == "history_20261210"


async def test_old_answers_are_forgotten_and_young_ones_kept(profiles: Profiles) -> None:
    keeper = housekeeper(profiles)
    await profiles.observe(a_record("1", an_event("e1")), wanted=["order_placed"])
    profiles.clock.advance(timedelta(hours=23))
    await profiles.observe(a_record("2", an_event("e2")), wanted=["order_placed"])
    profiles.clock.advance(timedelta(hours=2))

    await keeper.run_once()

    rows = await profiles.fetch("SELECT log_position FROM answers")
    assert [row["log_position"] for row in rows] == ["2"]


def failures() -> float:
    return (
        REGISTRY.get_sample_value("beckon_worker_failures_total", {"worker": "profile_housekeeper"})
        or 0.0
    )


async def test_housekeeping_outlives_a_database_that_is_away(
    profiles: Profiles, tmp_path: Path
) -> None:
    async with (
        Postgres(tmp_path, durable=False) as server,
        connect(server.url, schema="profile", size=1) as away,
    ):
        keeper = Housekeeper(
            Observations(away, profiles.clock, profiles.definitions, profiles.types),
            Retention(away),
            Erasures(away),
            profiles.clock,
            weeks_ahead=2,
            weeks_kept=10,
            answers_kept=timedelta(days=1),
        )
        server.kill()
        stopping, before = Stopping(), failures()
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(keeper.run(stopping))
            await eventually(lambda: failures() > before)
            still_at_it = not keeping.done()
            stopping.set()

    assert still_at_it


async def test_a_plan_made_on_empty_tables_still_uses_keys(profiles: Profiles) -> None:
    """The plan is kept for the life of a connection; tables grow under it."""
    async with profiles.database.connection() as connection:
        shown = await connection.fetchval("SHOW plan_cache_mode")
        plan = await connection.fetch(
            "EXPLAIN SELECT * FROM history WHERE event_uid = ANY($1::uuid[]) AND receive_us >= $2",
            [],
            0,
        )

    assert shown == "force_generic_plan"
    assert not [row for row in plan if "Seq Scan" in row[0]]


@pytest.mark.parametrize("span", ["59m", "31d", "soon"])
def test_the_window_of_duplicates_has_bounds(span: str) -> None:
    with pytest.raises(BadSettings, match="PROFILE_DUPLICATE_SECONDS"):
        load(Config, {"PROFILE_DATABASE_URL": "x", "PROFILE_DUPLICATE_SECONDS": span,
                      "BECKON_KEYS_FILE": "x"})  # fmt: skip


def test_the_usual_settings_suffice() -> None:
    config = load(
        Config, {"PROFILE_DATABASE_URL": "x", "PROFILE_KEY": "x", "BECKON_KEYS_FILE": "x"}
    )

    assert config.duplicate_window == timedelta(days=7)
    assert config.server.address == "127.0.0.1:50052"
    assert config.server.metrics_address == "127.0.0.1:50152"
