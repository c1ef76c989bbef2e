"""Makes sure of what profile tells of: attributes that change, conditions that begin and end."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from beckon.profile.v1 import identity_service_pb2 as identity_pb
from beckon.profile.v1 import profile_service_pb2 as profile_pb
from beckon.profile.v1 import segment_service_pb2 as segment_pb
from beckon.profile.v1 import trait_service_pb2 as trait_pb
from beckon.profile.v1 import watch_service_pb2 as pb

from mesh.errors import FailedPrecondition, InvalidArgument
from services.profile.servicer.watches import WatchServicer
from services.profile.store.watching import Watching
from tests.integration.profile.audiences import an_audience_stream
from tests.integration.profile.segmenting import WORKSPACE, Segments
from tests.integration.profile.world import Profiles, a_record, an_event

SILENT = 'profile.last_seen_time < now - duration("60m")'
GOLD = 'profile.attributes.plan == "gold"'


class Watches(Segments):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.watcher = WatchServicer(
            Watching(self.profiles.database),
            an_audience_stream(self.profiles.database, self.profiles.clock),
            self.profiles.clock,
            changed=lambda: None,
        )

    async def watch(
        self, *attributes: str, version: int = 1, conditions: dict[str, str] | None = None
    ) -> int:
        answer = await self.watcher.SetWatches(
            pb.SetWatchesRequest(
                parent=WORKSPACE,
                version=version,
                attributes=attributes,
                conditions=[
                    pb.SetWatchesRequest.Condition(id=id_, filter=filter_)
                    for id_, filter_ in (conditions or {}).items()
                ],
            ),
            None,
        )
        return answer.version

    async def told(self) -> list[tuple[str, str, dict[str, object]]]:
        return [
            (event.type, event.profile_id, json.loads(event.properties))
            for _, event in await self.owed.oldest(1000)
            if event.type.startswith(("attribute_", "condition_"))
        ]

    async def changes(self) -> list[tuple[str, object, object]]:
        return [
            (profile, said.get("from"), said.get("to")) for _, profile, said in await self.told()
        ]


@pytest.fixture
def watches(profiles: Profiles) -> Watches:
    return Watches(profiles)


async def test_nothing_is_told_of_what_nobody_watches(watches: Watches) -> None:
    await watches.watch("tier")

    await watches.update(plan="gold")

    assert await watches.told() == []


async def test_a_change_is_told_with_what_was_and_what_is(watches: Watches) -> None:
    await watches.watch("plan")

    await watches.update(plan="free")
    await watches.update(plan="gold", age=3)
    await watches.update(plan=None)

    assert await watches.told() == [
        ("attribute_changed", "ana", {"attribute": "plan", "to": "free"}),
        ("attribute_changed", "ana", {"attribute": "plan", "from": "free", "to": "gold"}),
        ("attribute_changed", "ana", {"attribute": "plan", "from": "gold"}),
    ]


async def test_a_write_of_the_same_value_changes_nothing(watches: Watches) -> None:
    await watches.update(age=3, plan="free")
    await watches.watch("age", "plan")

    await watches.update(age=3.0, plan="free")
    await watches.happen("app_opened")

    assert await watches.told() == []


async def test_changes_by_callers_are_told(watches: Watches) -> None:
    await watches.update(plan="free")
    await watches.watch("plan")
    wanted = profile_pb.Profile(name=f"{WORKSPACE}/profiles/ana")
    wanted.attributes.update({"plan": "gold"})

    await watches.profiles.profiles.UpdateProfile(
        profile_pb.UpdateProfileRequest(profile=wanted), None
    )

    assert await watches.changes() == [("ana", "free", "gold")]


async def test_who_is_united_has_the_value_of_both(watches: Watches) -> None:
    await watches.update("ana", plan="free")
    watches.profiles.clock.advance(timedelta(seconds=1))
    await watches.update("ana-phone", plan="gold")
    await watches.watch("plan")

    request = identity_pb.MergeProfilesRequest(
        into=f"{WORKSPACE}/profiles/ana", **{"from": f"{WORKSPACE}/profiles/ana-phone"}
    )
    merge = await watches.profiles.identity.MergeProfiles(request, None)
    united = await watches.changes()
    await watches.profiles.merges.unmerge(
        "acme", UUID(merge.name.rpartition("/")[2]), watches.profiles.clock.now()
    )

    assert united == [("ana", "free", "gold")]
    assert (await watches.changes())[1:] == [("ana", "gold", "free")]


async def test_an_older_version_changes_nothing(watches: Watches) -> None:
    await watches.watch("plan", version=7)

    in_force = await watches.watch(version=6)
    await watches.update(plan="gold")

    assert in_force == 7
    assert len(await watches.told()) == 1


async def test_a_condition_begins_and_ends(watches: Watches) -> None:
    await watches.update("bea", plan="gold")
    await watches.watch(conditions={"vip:1": GOLD})
    await watches.build()

    await watches.update(plan="gold")
    await watches.update(plan="free")

    assert await watches.told() == [
        ("condition_entered", "ana", {"condition": "vip:1"}),
        ("condition_exited", "ana", {"condition": "vip:1"}),
    ]


async def test_what_happens_while_a_condition_is_built_is_told(watches: Watches) -> None:
    await watches.update("bea", plan="gold")
    await watches.update("cid", plan="free")
    await watches.watch(conditions={"vip:1": GOLD})

    await watches.update("ana", plan="gold")
    await watches.update("bea", age=3)
    await watches.update("cid", plan="gold")
    await watches.build()

    assert [(type_, who) for type_, who, _ in await watches.told()] == [
        ("condition_entered", "ana"),
        ("condition_entered", "cid"),
    ]


async def test_a_silence_begins_by_time_alone_and_ends_with_her(watches: Watches) -> None:
    await watches.watch(conditions={"silent": SILENT})
    await watches.build()
    await watches.happen("app_opened")

    await watches.after(timedelta(minutes=59))
    before = await watches.told()
    await watches.after(timedelta(minutes=2))
    await watches.happen("message_sent")
    still = await watches.told()
    await watches.happen("app_opened")

    assert before == []
    assert [one[0] for one in still] == ["condition_entered"]
    assert [one[0] for one in await watches.told()] == ["condition_entered", "condition_exited"]


async def test_conditions_are_no_segments_of_anybody(watches: Watches) -> None:
    await watches.watch(conditions={"vip": GOLD})
    await watches.build()
    await watches.update(plan="gold")

    listed = await watches.servicer.ListSegments(
        segment_pb.ListSegmentsRequest(parent=WORKSPACE), None
    )
    explained = await watches.profiles.profiles.ExplainProfile(
        profile_pb.ExplainProfileRequest(name=f"{WORKSPACE}/profiles/ana"), None
    )

    assert list(listed.segments) == []
    assert list(explained.memberships) == []


async def test_a_condition_that_is_taken_back_leaves_nothing(watches: Watches) -> None:
    await watches.watch(conditions={"vip": GOLD, "silent": SILENT})
    await watches.update(plan="gold")
    await watches.build()

    await watches.watch(version=2, conditions={"silent": SILENT})
    await watches.build()
    await watches.update(plan="free")

    rows = await watches.profiles.fetch(
        "SELECT DISTINCT s.segment_id FROM segment_members AS m LEFT JOIN segments AS s"
        " USING (segment_key)"
    )
    assert [row[0] for row in rows] == ["~silent"]
    assert [one[0] for one in await watches.told()] == ["condition_entered"]


async def test_another_filter_is_another_condition(watches: Watches) -> None:
    await watches.watch(conditions={"vip": GOLD})
    await watches.build()
    await watches.update(plan="silver")

    await watches.watch(version=2, conditions={"vip": 'profile.attributes.plan == "silver"'})
    await watches.build()

    assert await watches.told() == []


async def test_a_filter_that_does_not_compile_is_refused(watches: Watches) -> None:
    with pytest.raises(InvalidArgument):
        await watches.watch(conditions={"odd": "profile.nope("})


async def test_a_trait_that_a_campaign_waits_for_cannot_be_deleted(watches: Watches) -> None:
    trait = trait_pb.Trait(
        name=f"{WORKSPACE}/traits/orders",
        event_type="order_placed",
        aggregate=trait_pb.Trait.AGGREGATE_COUNT,
    )
    traits = watches.profiles.traits
    await traits.CreateTrait(trait_pb.CreateTraitRequest(trait=trait), None)
    await watches.watch(conditions={"milestone:1": "profile.traits.orders >= 2.0"})

    with pytest.raises(FailedPrecondition, match="campaigns/milestone"):
        await traits.DeleteTrait(trait_pb.DeleteTraitRequest(name=trait.name), None)


async def test_a_number_that_is_reached_by_several_events_at_once_is_told_once(
    watches: Watches,
) -> None:
    trait = trait_pb.Trait(
        name=f"{WORKSPACE}/traits/orders",
        event_type="order_placed",
        aggregate=trait_pb.Trait.AGGREGATE_COUNT,
    )
    await watches.profiles.traits.CreateTrait(trait_pb.CreateTraitRequest(trait=trait), None)
    await watches.watch(conditions={"milestone:1": "profile.traits.orders >= 2.0"})
    now = watches.profiles.clock.now()
    events = [an_event(f"o{number}", occurred=now) for number in range(4)]

    await watches.profiles.observe(a_record("1", *events, received=now))

    assert [(type_, who) for type_, who, _ in await watches.told()] == [
        ("condition_entered", "ana")
    ]


async def test_who_is_united_by_what_she_did_is_told_of_as_well(watches: Watches) -> None:
    await watches.update("phone", plan="gold")
    await watches.update("ana", age=3)
    await watches.watch("plan")

    await watches.happen("identify", "ana", {"anonymous_id": "phone"})

    assert await watches.changes() == [("ana", None, "gold")]


async def test_patches_by_the_thousand_are_told_of(watches: Watches) -> None:
    await watches.update("ana", plan="free")
    await watches.watch("plan")
    patches = []
    for name in ("ana", "bea"):
        patch = profile_pb.ProfilePatch(profile=f"{WORKSPACE}/profiles/{name}")
        patch.set.update({"plan": "gold"})
        patches.append(patch)

    await watches.profiles.profiles.PatchProfiles(
        profile_pb.PatchProfilesRequest(parent=WORKSPACE, patches=patches, request_id=str(uuid4())),
        None,
    )

    assert sorted(await watches.changes(), key=str) == [
        ("ana", "free", "gold"),
        ("bea", None, "gold"),
    ]
