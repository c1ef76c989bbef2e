"""Makes sure that relations are written once, read from both ends, and move with no merge."""

import asyncio
from datetime import timedelta

import pytest
from beckon.profile.v1 import relation_service_pb2 as pb

from mesh.errors import InvalidArgument
from services.profile.store import relations as relation_store
from tests.integration.profile.neighbours import Neighbours, an_edge, named, short
from tests.integration.profile.world import NOW

MIRRORED = """
SELECT from_member, kind, to_member, attributes, create_time, update_time FROM relations
EXCEPT ALL SELECT from_member, kind, to_member, attributes, create_time, update_time
FROM relations_in
"""


def shown(edges: list[pb.Relation]) -> list[tuple[str, str, str]]:
    return [(short(getattr(one, "from")), one.kind, short(one.to)) for one in edges]


def counts(response: pb.BatchPutRelationsResponse) -> tuple[int, int, int]:
    return response.created_count, response.updated_count, len(response.failed_relations)


async def test_an_edge_is_seen_from_both_ends(world: Neighbours) -> None:
    assert counts(await world.put(an_edge("ana", "follows", "ben", {"close": True}))) == (1, 0, 0)

    (out,) = await world.edges("ana")
    assert [out] == await world.edges("ben", incoming=True)
    assert shown([out]) == [("ana", "follows", "ben")]
    assert dict(out.attributes) == {"close": True}
    assert out.create_time.ToDatetime(NOW.tzinfo) == NOW == out.update_time.ToDatetime(NOW.tzinfo)
    assert not await world.edges("ben")
    assert not await world.edges("ana", incoming=True)
    assert not await world.fetch("SELECT FROM profiles")


async def test_a_repeat_changes_nothing_and_other_attributes_do(world: Neighbours) -> None:
    edge = an_edge("ana", "follows", "ben", {"n": 1, "deep": {"list": [1.5, None, "x"]}})
    await world.put(edge)
    world.clock.advance(timedelta(hours=1))

    assert counts(await world.put(edge)) == (0, 0, 0)
    assert counts(await world.put(an_edge("ana", "follows", "ben", {"n": 2}))) == (0, 1, 0)
    (out,) = await world.edges("ana")
    assert dict(out.attributes) == {"n": 2}
    assert out.create_time.ToDatetime(NOW.tzinfo) == NOW
    assert out.update_time.ToDatetime(NOW.tzinfo) == NOW + timedelta(hours=1)


async def test_what_is_deleted_is_gone_from_both_ends(world: Neighbours) -> None:
    edges = [an_edge("ana", "follows", "ben"), an_edge("ana", "friends", "ben")]
    await world.put(*edges)

    assert await world.delete(edges[0], edges[0], an_edge("ben", "follows", "ana")) == 1
    assert await world.delete(edges[0]) == 0
    assert shown(await world.edges("ben", incoming=True)) == [("ana", "friends", "ben")]
    assert shown(await world.edges("ana")) == [("ana", "friends", "ben")]


def bad(**fields: str) -> pb.Relation:
    relation = an_edge("ana", "follows", "ben")
    for field, value in fields.items():
        setattr(relation, field, value)
    return relation


@pytest.mark.parametrize(
    ("edge", "field"),
    [
        (bad(to=named("ben", "other")), ".to"),
        (bad(**{"from": named("ana", "other")}), ".from"),
        (bad(to="ben"), ".to"),
        (bad(kind="Follows"), ".kind"),
        (bad(kind=""), ".kind"),
        (bad(to=named("ana")), ""),
        (an_edge("good", "follows", "ben"), ""),
        (an_edge("ana", "follows", "ben", {"x": "y" * 4096}), ".attributes"),
        (an_edge("ana", "follows", "ben", {"x": float("nan")}), ".attributes"),
        (an_edge("ana", "follows", "ben", {"x": ["\0"]}), ".attributes"),
    ],
)
async def test_a_bad_edge_falls_alone(world: Neighbours, edge: pb.Relation, field: str) -> None:
    response = await world.put(
        an_edge("good", "follows", "ben"), edge, an_edge("ana", "friends", "ben")
    )

    assert counts(response) == (2, 0, 1)
    assert response.failed_relations[1].message.startswith(f"relations[1]{field}: ")


async def test_a_backslash_is_no_null(world: Neighbours) -> None:
    assert counts(await world.put(an_edge("ana", "follows", "ben", {"x": "\\u0000"}))) == (1, 0, 0)
    assert dict((await world.edges("ana"))[0].attributes) == {"x": "\\u0000"}


async def test_to_delete_what_cannot_be_is_refused(world: Neighbours) -> None:
    with pytest.raises(InvalidArgument):
        await world.delete(bad(to=named("ben", "other")))


async def test_edges_are_listed_by_kind_and_id_page_by_page(world: Neighbours) -> None:
    edges = [
        an_edge("ana", kind, f"p{index}") for kind in ("likes", "follows") for index in range(5)
    ]
    await world.put(*edges)

    listed = shown(await world.edges("ana", page_size=3))

    assert listed == sorted(shown(edges))
    assert shown(await world.edges("ana", "likes", page_size=2)) == listed[5:]
    assert shown(await world.edges("p3", incoming=True, page_size=1)) == [
        ("ana", "follows", "p3"),
        ("ana", "likes", "p3"),
    ]


async def test_twenty_writers_of_one_edge_make_it_once(world: Neighbours) -> None:
    edges = [an_edge("ana", "follows", f"p{index}") for index in range(20)]

    answers = await asyncio.gather(*(world.put(*edges[::step]) for step in [1, -1] * 10))

    assert sum(one.created_count for one in answers) == 20
    assert sum(one.updated_count for one in answers) == 0
    assert not await world.fetch(MIRRORED)


async def test_united_ids_have_each_other_s_edges_once(world: Neighbours) -> None:
    await world.put(an_edge("anon", "follows", "ben", {"from": "anon"}))
    world.clock.advance(timedelta(hours=1))
    await world.put(
        an_edge("ana", "follows", "ben", {"from": "ana"}),
        an_edge("anon", "follows", "cleo"),
        an_edge("dora", "follows", "anon"),
        an_edge("ana", "follows", "anon"),
    )
    before = await world.edges("anon")

    await world.unite("ana", "anon")

    ben, cleo = await world.edges("anon")
    assert shown([ben, cleo]) == [("ana", "follows", "ben"), ("ana", "follows", "cleo")]
    assert dict(ben.attributes) == {"from": "ana"}
    assert ben.create_time.ToDatetime(NOW.tzinfo) == NOW
    assert shown(await world.edges("dora")) == [("dora", "follows", "ana")]
    assert shown(await world.edges("ben", incoming=True)) == [("ana", "follows", "ben")]
    assert await world.related("ben", incoming=True) == ["ana"]

    await world.part(["ana"], ["anon"])

    assert await world.edges("anon") == before
    assert len(await world.edges("ana")) == 2


async def test_a_put_under_one_id_counts_for_the_person(world: Neighbours) -> None:
    await world.put(an_edge("ana", "follows", "ben", {"n": 1}))
    await world.unite("ana", "anon")

    assert counts(await world.put(an_edge("anon", "follows", "ben", {"n": 1}))) == (0, 0, 0)
    assert counts(await world.put(an_edge("anon", "follows", "ben", {"n": 2}))) == (0, 1, 0)
    assert counts(await world.put(an_edge("ana", "follows", "ben", {"n": 1}))) == (0, 1, 0)
    (edge,) = await world.edges("anon")
    assert dict(edge.attributes) == {"n": 1}


async def test_what_both_ids_said_stays_with_both_when_they_are_parted(world: Neighbours) -> None:
    await world.put(an_edge("anon", "follows", "ben", {"n": 1}))
    await world.unite("ana", "anon")
    assert counts(await world.put(an_edge("ana", "follows", "ben", {"n": 1}))) == (0, 0, 0)

    await world.part(["ana"], ["anon"])

    for one in ("ana", "anon"):
        assert shown(await world.edges(one)) == [(one, "follows", "ben")]


async def test_two_ids_of_one_person_are_one_end(world: Neighbours) -> None:
    await world.unite("ana", "anon")

    response = await world.put(
        an_edge("ana", "follows", "anon"),
        an_edge("ana", "follows", "ben"),
        an_edge("anon", "follows", "ben"),
    )

    assert counts(response) == (1, 0, 2)
    assert sorted(response.failed_relations) == [0, 2]


async def test_to_delete_by_one_id_deletes_what_was_put_by_another(world: Neighbours) -> None:
    await world.put(an_edge("ana", "follows", "ben"), an_edge("anon", "follows", "ben"))
    await world.unite("ana", "anon")

    assert await world.delete(an_edge("anon", "follows", "ben")) == 1
    assert not await world.edges("ana")
    assert not await world.fetch("SELECT FROM relations_in")


async def test_the_erased_leave_no_edge(world: Neighbours, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation_store, "_ERASE_MAX", 2)
    await world.put(
        *(an_edge("ana", "follows", f"p{index}") for index in range(5)),
        *(an_edge(f"p{index}", "follows", "anon") for index in range(5)),
        an_edge("anon", "follows", "ana"),
        an_edge("p1", "follows", "p2"),
    )
    await world.unite("ana", "anon")

    async with world.database.transaction() as db:
        assert await relation_store.erase(db, "acme", "ana") == {"relations": 11}

    assert shown(await world.edges("p1")) == [("p1", "follows", "p2")]
    for table in ("relations", "relations_in"):
        assert len(await world.fetch(f"SELECT FROM {table}")) == 1
