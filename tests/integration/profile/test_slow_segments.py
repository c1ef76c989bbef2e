"""Makes sure that a segment whose filter takes too long keeps nobody else waiting."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.profile.store.segments import asking
from tests.integration.profile.segmenting import Segments
from tests.integration.profile.world import Profiles

GOLD = 'profile.attributes.plan == "gold"'
ENTERED, EXITED = "segment_entered", "segment_exited"
# Reads a table that turns do not: whoever locks it makes this filter slow, and no other.
SLOW = f'{GOLD} && relation_count("follows") == 0'
MINUTE = timedelta(minutes=1)


@pytest.fixture
def segments(profiles: Profiles) -> Segments:
    return Segments(profiles)


@asynccontextmanager
async def slow(segments: Segments) -> AsyncIterator[None]:
    async with segments.profiles.database.transaction() as other:
        await other.execute("LOCK TABLE relations IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_slow_segment_is_looked_at_later_and_the_others_now(segments: Segments) -> None:
    await segments.made("slow", SLOW)
    await segments.made("vip", GOLD)

    async with slow(segments):
        await segments.update(plan="gold")
    at_once = await segments.said()
    await segments.after(MINUTE)

    assert at_once == [(ENTERED, "ana", "vip")]
    assert await segments.said() == [(ENTERED, "ana", "vip"), (ENTERED, "ana", "slow")]


async def test_who_is_in_a_slow_segment_stays_in_until_it_was_asked(segments: Segments) -> None:
    await segments.made("slow", SLOW)
    await segments.update(plan="gold")

    async with slow(segments):
        await segments.update(plan="free")
    meanwhile = await segments.members("slow")
    await segments.after(MINUTE)

    assert meanwhile == ["ana"]
    assert await segments.members("slow") == []
    assert await segments.said() == [(ENTERED, "ana", "slow"), (EXITED, "ana", "slow")]


async def test_a_slow_segment_rests_so_that_no_other_turn_waits_for_it(
    segments: Segments,
) -> None:
    await segments.made("slow", SLOW)
    async with slow(segments):
        await segments.update("ana", plan="gold")

    await segments.update("bea", plan="gold")
    at_once = await segments.members("slow")
    await segments.after(MINUTE)
    await segments.update("cleo", plan="gold")

    assert at_once == []
    assert await segments.members("slow") == ["ana", "bea", "cleo"]


async def test_a_turn_asks_no_more_when_its_time_is_over(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    await segments.made("vip", GOLD)
    monkeypatch.setattr(asking, "_ALL_SECONDS", -1.0)

    await segments.update(plan="gold")
    at_once = await segments.said()
    await segments.after(MINUTE)

    assert at_once == []
    assert await segments.said() == [(ENTERED, "ana", "vip")]


async def test_a_long_list_in_a_loop_stops_no_turn(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_TOGETHER_MS", 250)
    monkeypatch.setattr(asking, "_ALONE_MS", 200)
    big = "profile.attributes.big"
    # A million comparisons each.
    await segments.made("odd", " || ".join([f"{big}.exists(x, !(x in {big}))"] * 24))
    await segments.made("vip", GOLD)

    await segments.update(plan="gold", big=list(range(1000)))
    rows = await segments.profiles.fetch("SELECT due_us FROM segment_members WHERE NOT member")

    assert await segments.said() == [(ENTERED, "ana", "vip")]
    assert len(rows) == 1


async def test_those_due_for_another_segment_do_not_wait_for_everybody_in_a_slow_one(
    segments: Segments,
) -> None:
    silent = 'profile.last_seen_time <= now - duration("720h")'
    await segments.made("slow", f'{silent} && relation_count("follows") == 0')
    for at in range(9):
        await segments.happen("app_opened", f"p{at}")
    other = Segments(segments.profiles, workspace="other", positions=segments.positions)
    await other.made("silent", silent)
    await other.happen("app_opened", "zoe")
    segments.dues = segments.another_dues(batch=1)

    async with slow(segments):
        await segments.after(timedelta(days=30))
        meanwhile = await other.members("silent")
    await segments.after(timedelta(hours=1))

    assert meanwhile == ["zoe"]
    assert len(await segments.members("slow")) == 9
