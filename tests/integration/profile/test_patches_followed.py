"""Makes sure that what follows from attributes follows a call as it follows an event."""

from datetime import timedelta

from beckon.profile.v1 import trait_service_pb2 as trait_pb

from services.profile.store.segments import SegmentDefinitions
from tests.integration.profile.reckoning import a_trait, declare, kept, told
from tests.integration.profile.test_patches import a_patch, get, patched
from tests.integration.profile.world import Profiles, a_record, an_event

MEMBERS = "SELECT person_id FROM segment_members WHERE member ORDER BY 1"
OWED = "SELECT type FROM derived_events ORDER BY derived_id"


async def members(profiles: Profiles) -> list[str]:
    return [row[0] for row in await profiles.fetch(MEMBERS)]


async def test_a_patch_moves_people_in_and_out_of_segments(profiles: Profiles) -> None:
    definitions = SegmentDefinitions(profiles.database)
    where = 'profile.attributes.tier == "gold"'
    await definitions.create("acme", "gold", where, "", profiles.clock.now())

    await patched(
        profiles,
        a_patch("ana", set={"tier": "gold"}),
        a_patch("ben", set={"tier": "blue"}),
        a_patch("cid", set={"tier": "gold"}, unset=["tier"]),
    )
    assert await members(profiles) == ["ana"]

    await patched(profiles, a_patch("ana", unset=["tier"]), a_patch("ben", set={"tier": "gold"}))
    assert await members(profiles) == ["ben"]


async def test_a_dry_run_moves_nobody(profiles: Profiles) -> None:
    definitions = SegmentDefinitions(profiles.database)
    where = 'profile.attributes.tier == "gold"'
    await definitions.create("acme", "gold", where, "", profiles.clock.now())

    await patched(profiles, a_patch(set={"tier": "gold"}), validate_only=True)

    assert await members(profiles) == []
    assert await profiles.fetch(OWED) == []


async def test_who_is_moved_to_another_zone_has_another_day_at_once(profiles: Profiles) -> None:
    await declare(profiles, a_trait(calendar=trait_pb.Trait.CALENDAR_DAY))
    # Noon in UTC; in Tokyo it is nine in the evening, and three hours later the next day.
    await profiles.observe(a_record("1", an_event("e1")))
    profiles.clock.advance(timedelta(hours=3, minutes=1))
    assert await told(profiles) == {"orders": 1}

    await patched(profiles, a_patch(set={"time_zone": "Asia/Tokyo"}))

    assert await kept(profiles) == {"orders": 0}
    assert dict((await get(profiles)).traits) == {"orders": 0}
