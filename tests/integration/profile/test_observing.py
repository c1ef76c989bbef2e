"""Makes sure that what people did is written once, counted once and answered truly."""

from tests.integration.profile.world import NOW, Profiles, a_record, an_event, micros


async def test_an_event_brings_its_profile_into_being(profiles: Profiles) -> None:
    answer = await profiles.observe(a_record("1", an_event()), wanted=["order_placed"])

    assert list(answer.event_standings) == [0]
    standing = answer.standings[0]
    assert [(one.type, one.count) for one in standing.counters] == [("order_placed", 1)]
    assert standing.first_seen_time_us == standing.last_seen_time_us == micros(NOW)
    assert await profiles.standing() == standing
    assert await profiles.history() == ["e1"]
