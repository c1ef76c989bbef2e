"""Makes sure that an audience streams whole, each person once, from wherever it broke off."""

from typing import Any

import pytest
from beckon.profile.v1 import watch_service_pb2 as pb

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.integration.profile.audiences import an_audience_stream
from tests.integration.profile.neighbours import Neighbours, an_edge, named
from tests.integration.profile.segmenting import WORKSPACE, Segments
from tests.integration.profile.world import Profiles

PEOPLE = """
INSERT INTO profiles (workspace, profile_id, attributes, shard, create_time, update_time)
SELECT 'acme', 'p' || lpad(i::text, 7, '0'), jsonb_build_object('even', i % 2 = 0), 0, now(), now()
FROM generate_series(1, $1) AS i
"""


def ask(**who: Any) -> pb.StreamAudienceRequest:
    return pb.StreamAudienceRequest(parent=WORKSPACE, **who)


async def streamed(
    world: Neighbours | Profiles, request: pb.StreamAudienceRequest
) -> list[pb.StreamAudienceResponse]:
    stream = an_audience_stream(world.database, world.clock)
    return [part async for part in stream.stream(request)]


def ids(parts: list[pb.StreamAudienceResponse]) -> list[str]:
    return [item.profile_id for part in parts for item in part.items]


async def test_everyone_streams_in_pages_each_once(world: Neighbours) -> None:
    await world.fetch(PEOPLE, 1200)

    parts = await streamed(world, ask(everyone=True))

    assert [len(part.items) for part in parts] == [500, 500, 200]
    assert ids(parts) == [f"p{n:07}" for n in range(1, 1201)]
    assert parts[0].items[1].standing.attributes_json == b'{"even": true}'


async def test_of_whom_the_filter_does_not_hold_is_left_out(world: Neighbours) -> None:
    await world.fetch(PEOPLE, 12_000)

    parts = await streamed(world, ask(filter="profile.attributes.even"))

    assert ids(parts) == [f"p{n:07}" for n in range(2, 12_001, 2)]
    assert all(1 <= len(part.items) <= 500 for part in parts)


@pytest.mark.parametrize("who", [{"everyone": True}, {"filter": "profile.attributes.even"}])
async def test_a_stream_resumes_behind_any_page(world: Neighbours, who: dict[str, Any]) -> None:
    await world.fetch(PEOPLE, 1700)
    whole = await streamed(world, ask(**who))

    for at, part in enumerate(whole):
        rest = await streamed(world, ask(cursor=part.cursor, **who))
        assert ids(whole[: at + 1]) + ids(rest) == ids(whole)


async def test_a_person_of_several_ids_is_met_once_under_her_name(world: Neighbours) -> None:
    await world.unite("ben", "ana", "zoe")
    await world.fetch(PEOPLE, 3)

    assert ids(await streamed(world, ask(everyone=True))) == [
        "ben",
        "p0000001",
        "p0000002",
        "p0000003",
    ]


async def test_the_related_come_without_who_blocks_or_is_blocked(world: Neighbours) -> None:
    await world.put(
        an_edge("ana", "follows", "owner", {"close": True}),
        an_edge("ben", "follows", "owner"),
        an_edge("cleo", "follows", "owner"),
        an_edge("owner", "blocks", "ben"),
        an_edge("cleo", "blocks", "owner"),
    )
    related = pb.StreamAudienceRequest.Related(
        profile=named("owner"), kind="follows", incoming=True
    )

    [part] = await streamed(world, ask(related=related))

    [item] = part.items
    assert (item.profile_id, item.relation_json) == ("ana", b'{"close": true}')


async def test_followers_of_several_ids_come_once(world: Neighbours) -> None:
    await world.put(an_edge("ana", "follows", "owner"), an_edge("a2", "follows", "owner"))
    await world.unite("ana", "a2")
    related = pb.StreamAudienceRequest.Related(
        profile=named("owner"), kind="follows", incoming=True
    )

    assert ids(await streamed(world, ask(related=related))) == ["ana"]


async def test_members_of_a_segment_stream(profiles: Profiles) -> None:
    segments = Segments(profiles)
    for profile, plan in (("ana", "gold"), ("ben", "free"), ("cleo", "gold")):
        await segments.update(profile, plan=plan)
    await segments.made("gold", 'profile.attributes.plan == "gold"')

    parts = await streamed(profiles, ask(segment=f"{WORKSPACE}/segments/gold"))

    assert ids(parts) == ["ana", "cleo"]


async def test_who_was_erased_since_she_was_found_is_left_out(profiles: Profiles) -> None:
    segments = Segments(profiles)
    await segments.update("ana", plan="gold")
    await segments.made("gold", 'profile.attributes.plan == "gold"')
    # As the walk sees them when the erasure is committed behind its look.
    await profiles.fetch(
        "INSERT INTO segment_members (workspace, person_id, segment_key, member, transition,"
        " enter_us, exit_us) SELECT workspace, 'gone', segment_key, true, 1, 0, 0 FROM segments"
    )

    parts = await streamed(profiles, ask(segment=f"{WORKSPACE}/segments/gold"))

    assert ids(parts) == ["ana"]


async def test_a_segment_that_is_built_tells_so(profiles: Profiles) -> None:
    segments = Segments(profiles)
    await segments.create("gold", 'profile.attributes.plan == "gold"')

    with pytest.raises(FailedPrecondition, match="being built"):
        await streamed(profiles, ask(segment=f"{WORKSPACE}/segments/gold"))


async def test_a_segment_that_is_not_there_is_not_found(profiles: Profiles) -> None:
    with pytest.raises(NotFound):
        await streamed(profiles, ask(segment=f"{WORKSPACE}/segments/gold"))


async def test_a_filter_that_does_not_compile_is_named(world: Neighbours) -> None:
    with pytest.raises(InvalidArgument, match="filter"):
        await streamed(world, ask(filter="profile.attributes.even &&"))


async def test_only_asked_whether_it_can_be_answered_it_answers_with_nobody(
    world: Neighbours,
) -> None:
    assert await streamed(world, ask(filter="true", validate_only=True)) == []
    with pytest.raises(InvalidArgument, match="filter"):
        await streamed(world, ask(filter="profile.attributes.(", validate_only=True))


async def test_another_workspace_is_out_of_reach(world: Neighbours) -> None:
    with pytest.raises(InvalidArgument, match="workspaces/acme"):
        await streamed(world, ask(segment="workspaces/other/segments/gold"))
