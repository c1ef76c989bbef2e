"""Makes sure, over random doings, that devices and relations are as a naive model says.

People are united and parted in between, in any way: what hangs on an id must follow it.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from beckon.profile.v1 import relation_service_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import NotFound
from services.profile.convert.moments import micros
from services.profile.rules.devices import usable
from services.profile.store import devices as device_store
from tests.effort import examples
from tests.integration.profile.neighbours import Neighbours, an_edge, named, short
from tests.integration.profile.test_relations import MIRRORED

IDS = ["ana", "anon", "ben", "cleo"]
TOKENS = ["t0", "t1"]
GROUPS = [
    [["ana"], ["anon"], ["ben"], ["cleo"]],
    [["ana", "anon"], ["ben"], ["cleo"]],
    [["anon", "ana"], ["cleo", "ben"]],
    [["ben", "ana", "anon"], ["cleo"]],
    [["ana"], ["ben", "anon"], ["cleo"]],
    [["cleo", "ana", "anon", "ben"]],
]

Edge: TypeAlias = tuple[str, str, str]

profile_ids, tokens = st.sampled_from(IDS), st.sampled_from(TOKENS)
groupings = st.tuples(st.just("group"), st.sampled_from(GROUPS))
device_doings = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["register", "register", "release", "retire"]), profile_ids, tokens
        ),
        groupings,
    ),
    min_size=5,
    max_size=14,
)
# Few, so that ids of one person often say the same, or not the same, of the same third.
edges = st.sampled_from(
    [
        ("ana", "follows", "ben"),
        ("anon", "follows", "ben"),
        ("anon", "follows", "cleo"),
        ("ana", "follows", "anon"),
        ("ben", "follows", "ana"),
        ("ben", "follows", "anon"),
        ("cleo", "blocks", "anon"),
        ("ana", "blocks", "ben"),
    ]
)
relation_doings = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "put", "put", "delete"]), edges, st.integers(0, 1)),
        groupings,
    ),
    min_size=8,
    max_size=20,
)
few = settings(
    max_examples=examples(20),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


@dataclass
class People:
    """Who is who, naively."""

    groups: list[list[str]] = field(default_factory=lambda: GROUPS[0])

    def ids(self, one: str) -> list[str]:
        return next(group for group in self.groups if one in group)

    def name(self, one: str) -> str:
        return self.ids(one)[0] if one else ""


@dataclass
class NaiveDevices(People):
    """Whose the tokens are, and all that happened to them."""

    owners: dict[str, str] = field(default_factory=dict)
    had: set[tuple[str, str]] = field(default_factory=set)
    story: list[tuple[str, str, str]] = field(default_factory=list)

    def register(self, one: str, token: str) -> None:
        if self.owners.get(token) != one:
            self.story.append((self.owners.get(token, ""), one, "registered"))
        self.owners[token] = one
        self.had.add((one, token))

    def release(self, one: str, token: str) -> None:
        if self.owners.get(token) in self.ids(one):
            self.story.append((self.owners.pop(token), "", "released"))

    def retire(self, _: str, token: str) -> None:
        if token in self.owners:
            self.story.append((self.owners.pop(token), "", "retired"))

    def knows(self, one: str, token: str) -> bool:
        return any((member, token) in self.had for member in self.ids(one))

    def used(self, one: str) -> list[str]:
        return sorted(token for token, owner in self.owners.items() if owner in self.ids(one))

    def told(self, one: str) -> list[tuple[str, str, str]]:
        ids = self.ids(one)
        return [
            (self.name(left), self.name(came), reason)
            for left, came, reason in self.story
            if (left in ids) != (came in ids)
        ]


async def empty(world: Neighbours) -> None:
    await world.fetch(
        "TRUNCATE profiles, devices, device_owners, device_transfers, relations, relations_in"
    )


async def check_devices(world: Neighbours, naive: NaiveDevices) -> None:
    for one in IDS:
        key = ("acme", naive.name(one))
        async with world.database.connection() as db:
            found = (await device_store.read_devices(db, [key])).get(key, [])
        used = usable(found, micros(world.clock.now()))
        assert sorted(device.token for device in used) == naive.used(one)
        assert await world.transfers(one) == naive.told(one)
        known = sum(naive.knows(one, token) for token in TOKENS)
        assert len(await world.listed(one)) == known


@few
@given(device_doings)
async def test_devices_are_as_a_naive_model_says(
    world: Neighbours, doings: list[tuple[Any, ...]]
) -> None:
    await empty(world)
    naive = NaiveDevices()
    ids = {token: short((await world.register("nobody", token)).name) for token in TOKENS}
    await empty(world)
    for doing in doings:
        world.clock.advance(timedelta(seconds=1))
        match doing:
            case ("group", groups):
                await world.part(*groups)
                naive.groups = list(map(list, groups))
            case ("register", one, token):
                await world.register(one, token)
                naive.register(one, token)
            case ("release", one, token):
                try:
                    await world.release(f"{named(one)}/devices/{ids[token]}")
                except NotFound:
                    assert not naive.knows(one, token)
                else:
                    assert naive.knows(one, token)
                naive.release(one, token)
            case _:
                _, one, token = doing
                await world.retire(world.clock.now(), f"{named(one)}/devices/{ids[token]}")
                naive.retire(one, token)
    await check_devices(world, naive)


@dataclass
class NaiveRelations(People):
    """Edges as written under ids, with when."""

    rows: dict[Edge, tuple[int, int]] = field(default_factory=dict)
    now: int = 0

    def between(self, edge: Edge) -> list[Edge]:
        from_ids, to_ids = self.ids(edge[0]), self.ids(edge[2])
        return [
            row
            for row in self.rows
            if row[0] in from_ids and row[1] == edge[1] and row[2] in to_ids
        ]

    def value(self, edge: Edge) -> int | None:
        found = [self.rows[row] for row in self.between(edge)]
        return max(found)[1] if found else None

    def put(self, edge: Edge, value: int) -> tuple[int, int, int]:
        self.now += 1
        before = self.value(edge)
        if self.name(edge[0]) == self.name(edge[2]):
            return 0, 0, 1
        if before != value:
            self.rows[edge] = (self.now, value)
        elif edge not in self.rows:
            self.rows[edge] = max(self.rows[row] for row in self.between(edge))
        return int(before is None), int(before not in {None, value}), 0

    def delete(self, edge: Edge) -> int:
        found = self.between(edge)
        for row in found:
            del self.rows[row]
        return int(bool(found))

    def listed(self, one: str, *, incoming: bool) -> Counter[tuple[str, str, str, int | None]]:
        mine, name = (2 if incoming else 0), self.name(one)
        people = {(self.name(row[0]), row[1], self.name(row[2])) for row in self.rows}
        return Counter(
            (*edge, self.value(edge))
            for edge in people
            if edge[mine] == name and edge[0] != edge[2]
        )

    def followers(self, one: str, *, mutual: bool) -> set[str]:
        name = self.name(one)
        return {
            other
            for other in map(self.name, IDS)
            if other != name
            and self.between((other, "follows", name))
            and (not mutual or self.between((name, "follows", other)))
            and not self.between((other, "blocks", name))
            and not self.between((name, "blocks", other))
        }


def told(edge: pb.Relation) -> tuple[str, str, str, int]:
    value = int(edge.attributes.fields["n"].number_value)
    return short(getattr(edge, "from")), edge.kind, short(edge.to), value


async def check_relations(world: Neighbours, naive: NaiveRelations) -> None:
    for one in IDS:
        for incoming in (False, True):
            found = await world.edges(one, incoming=incoming, page_size=2)
            assert Counter(map(told, found)) == naive.listed(one, incoming=incoming)
        for mutual in (False, True):
            streamed = await world.related(one, incoming=True, mutual=mutual)
            assert len(set(streamed)) == len(streamed)
            assert set(streamed) == naive.followers(one, mutual=mutual)
    assert not await world.fetch(MIRRORED)
    sizes = await world.fetch(
        "SELECT (SELECT count(*) FROM relations) = (SELECT count(*) FROM relations_in)"
    )
    assert sizes[0][0]


@few
@given(relation_doings)
async def test_relations_are_as_a_naive_model_says(
    world: Neighbours, doings: list[tuple[Any, ...]]
) -> None:
    await empty(world)
    naive = NaiveRelations()
    for doing in doings:
        world.clock.advance(timedelta(seconds=1))
        match doing:
            case ("put", edge, value):
                from_id, kind, to_id = edge
                answer = await world.put(an_edge(from_id, kind, to_id, {"n": value}))
                counts = answer.created_count, answer.updated_count, len(answer.failed_relations)
                assert counts == naive.put(edge, value)
            case ("delete", edge, _):
                assert await world.delete(an_edge(*edge)) == naive.delete(edge)
            case _:
                await world.part(*doing[1])
                naive.groups = list(map(list, doing[1]))
    await check_relations(world, naive)
