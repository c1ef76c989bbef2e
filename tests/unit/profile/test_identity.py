"""Makes sure that a person of many ids is what plain folding over all of them says, in any order."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh.names import ID_PATTERN
from services.profile.model import DAY_US, Event, Facts, Profile, Refused
from services.profile.model.persons import Claim, Edge, EdgeOrigin, EdgeState, Person, Recorded
from services.profile.rules import identifying
from services.profile.rules.identity import fold, part, roots, unite, uniting_edge
from services.profile.rules.observing import observe_person
from tests.unit.profile.builders import NOW_US, an_event

IDS = ["a", "b", "c", "d", "e"]
NOW = datetime(2026, 11, 22, tzinfo=UTC)

Step: TypeAlias = tuple[str, ...]

ids = st.sampled_from(IDS)
steps = st.one_of(
    st.tuples(st.just("merge"), ids, ids),
    st.tuples(st.just("unmerge"), st.sampled_from(["0", "1", "2", "3"])),
    st.tuples(st.just("event"), ids, st.sampled_from(["bought", "viewed", "message_sent"])),
    st.tuples(
        st.just("write"),
        ids,
        st.sampled_from(["tier", "email", "size"]),
        st.sampled_from(["gold@x.de", "new@x.de", ""]),
    ),
)


def an_edge(at: int, from_id: str, into_id: str) -> Edge:
    return Edge(
        "acme",
        UUID(int=at),
        from_id,
        into_id,
        EdgeState.LIVE,
        EdgeOrigin.CALL,
        "",
        NOW,
        sequence=at,
    )


@dataclass
class World:
    """People as the rules keep them."""

    people: dict[str, Person] = field(
        default_factory=lambda: {one: Person(("acme", one), Profile(version=1)) for one in IDS}
    )
    edges: list[Edge] = field(default_factory=list)

    def put(self, person: Person) -> None:
        for member in person.ids:
            self.people[member] = person

    def merge(self, at: int, from_id: str, into_id: str) -> None:
        into, other = self.people[into_id], self.people[from_id]
        if into.key != other.key:
            self.edges.append(an_edge(at, from_id, into_id))
            self.put(unite(into, other))

    def unmerge(self, which: int) -> None:
        if which < len(self.edges):
            edge = self.edges.pop(which)
            person = self.people[edge.into_id]
            for one in part(person, roots(self.edges, person.member_ids)):
                self.put(one)

    def observe(self, event: Event) -> None:
        self.put(observe_person(self.people[event.profile_id], [event]).person)


@dataclass
class Naive:
    """The same, reckoned from all that ever happened, each time anew."""

    edges: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    said: dict[str, dict[str, tuple[int, str]]] = field(
        default_factory=lambda: {one: {} for one in IDS}
    )
    """By id and key: when, and what; '': unset."""

    def component(self, one: str) -> set[str]:
        found = {one}
        while True:
            more = {
                other
                for edge in self.edges
                for other in edge
                if set(edge) & found and other not in found
            }
            if not more:
                return found
            found |= more

    def visible(self, members: set[str], key: str) -> str:
        said = [
            (*self.said[member][key][:1], member, self.said[member][key][1])
            for member in members
            if key in self.said[member]
        ]
        return max(said)[2] if said else ""

    def write(self, at_us: int, one: str, key: str, value: str) -> None:
        members = self.component(one)
        own, shown = self.said[one].get(key, (0, ""))[1], self.visible(members, key)
        if value != own or value != shown:
            times = [self.said[member][key][0] for member in members if key in self.said[member]]
            # What is written later is later, though it was received at the same instant.
            latest = max(times, default=-1) + (value != shown)
            self.said[one][key] = (max(at_us, latest), value)

    def facts(self, one: str) -> dict[str, str]:
        members = self.component(one)
        keys = {key for member in members for key in self.said[member]}
        told = {key: self.visible(members, key) for key in keys}
        return {key: value for key, value in told.items() if value}

    def counters(self, one: str) -> dict[str, tuple[int, int, int]]:
        times: defaultdict[str, list[int]] = defaultdict(list)
        for event in self.events:
            if event.profile_id in self.component(one):
                times[event.type].append(event.occur_us)
        return {kind: (len(at), min(at), max(at)) for kind, at in times.items()}

    def seen(self, one: str) -> tuple[int, int]:
        members = self.component(one)
        times = [
            event.occur_us
            for event in self.events
            if event.profile_id in members and event.type != "message_sent"
        ]
        return (min(times), max(times)) if times else (0, 0)


def shown(person: Person) -> tuple[object, ...]:
    profile = person.profile
    facts = json.loads(profile.facts.attributes)
    if profile.facts.email:
        facts["email"] = profile.facts.email
    counters = {kind: tuple(one) for kind, one in profile.counters.items()}
    return facts, counters, (profile.first_seen_us, profile.last_seen_us)


def told(naive: Naive, one: str) -> tuple[object, ...]:
    return naive.facts(one), naive.counters(one), naive.seen(one)


def walk(happened: list[Step]) -> tuple[World, Naive]:
    world, naive = World(), Naive()
    for at, step in enumerate(happened, start=1):
        receive_us = NOW_US + at * 1000
        match step:
            case ("merge", one, other):
                before = len(world.edges)
                world.merge(at, one, other)
                if len(world.edges) > before:
                    naive.edges.append((one, other))
            case ("unmerge", which):
                world.unmerge(int(which))
                if int(which) < len(naive.edges):
                    naive.edges.pop(int(which))
            case ("event", one, kind):
                event = an_event(
                    f"e{at}", kind=kind, person=one, receive_us=receive_us, occur_us=receive_us - at
                )
                world.observe(event)
                naive.events.append(event)
            case ("write", one, key, value):
                event = an_event(
                    f"e{at}",
                    kind="profile_updated",
                    person=one,
                    receive_us=receive_us,
                    properties=json.dumps({key: value or None}),
                )
                world.observe(event)
                naive.events.append(event)
                naive.write(receive_us, one, key, value)
            case _:
                raise AssertionError(step)
    return world, naive


@settings(max_examples=300, deadline=None)
@example(
    [
        ("write", "a", "tier", "new@x.de"),
        ("merge", "b", "a"),
        ("write", "b", "tier", ""),
        ("unmerge", "0"),
    ]
)
@example(
    [
        ("write", "a", "tier", "new@x.de"),
        ("merge", "b", "a"),
        ("write", "b", "tier", "new@x.de"),
        ("unmerge", "0"),
    ]
)
@given(st.lists(steps, max_size=25))
def test_whatever_happens_in_whatever_order_the_union_is_the_naive_fold(
    happened: list[Step],
) -> None:
    world, naive = walk(happened)

    for one in IDS:
        assert shown(world.people[one]) == told(naive, one)
        assert set(world.people[one].ids) == naive.component(one)
        assert world.people[one].key[1] == roots(world.edges, IDS)[one]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps.filter(lambda step: step[0] in {"event", "write"}), max_size=15), st.data())
def test_the_order_of_merges_does_not_change_what_is_known(
    happened: list[Step], data: st.DataObject
) -> None:
    merges = [("merge", one, other) for one, other in pairwise(IDS)]
    one, _ = walk([*happened, *data.draw(st.permutations(merges))])
    other, _ = walk([*happened, *data.draw(st.permutations(merges))])

    assert shown(one.people["a"]) == shown(other.people["a"])


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=15), ids, ids)
def test_taking_a_merge_back_at_once_restores_everybody(
    happened: list[Step], one: str, other: str
) -> None:
    world, _ = walk(happened)
    before = {name: (shown(person), person.ids) for name, person in world.people.items()}
    count = len(world.edges)

    world.merge(1000, one, other)
    if len(world.edges) > count:
        world.unmerge(count)

    assert {name: (shown(p), p.ids) for name, p in world.people.items()} == before


def test_the_name_is_that_of_the_one_united_into() -> None:
    edges = [an_edge(1, "a", "b"), an_edge(2, "b", "c"), an_edge(3, "d", "a")]

    assert set(roots(edges).values()) == {"c"}
    assert roots([edges[0], edges[2]], ["c"]) == {"a": "b", "b": "b", "c": "c", "d": "b"}


def test_the_edge_that_united_two_is_found_through_others() -> None:
    edges = [an_edge(1, "a", "b"), an_edge(2, "c", "d"), an_edge(3, "b", "c")]

    assert uniting_edge(edges, "d", "a") == edges[2]
    assert uniting_edge(edges, "b", "a") == edges[0]
    assert uniting_edge(edges[:2], "a", "d") is None


def test_beyond_the_bounds_what_is_shown_does_not_depend_on_the_order() -> None:
    def many(first: int, time: int) -> Recorded:
        keys = range(first, first + 300)
        facts = Facts(
            json.dumps({f"k{at:04}": at for at in keys}),
            times=json.dumps({f"k{at:04}": time + at for at in keys}),
        )
        counters = {f"t{at:04}": (1, DAY_US + at, DAY_US + at) for at in keys}
        return Recorded(Profile(facts=facts, counters=counters))

    one, other = many(0, 5), many(300, 5)

    there, back = fold({"a": one, "b": other}), fold({"b": other, "a": one})

    assert json.loads(there.facts.attributes) == json.loads(back.facts.attributes)
    assert there.counters == back.counters
    assert set(there.counters) == {f"t{at:04}" for at in range(512)}
    assert set(json.loads(there.facts.attributes)) == {f"k{at:04}" for at in range(344, 600)}


def test_an_id_has_the_form_that_ids_have_elsewhere() -> None:
    event = an_event(kind="identify", properties=json.dumps({"alias": "x" * 128}))

    assert ID_PATTERN == r"[A-Za-z0-9._~@+:=-]{1,128}"
    assert identifying.claims_of(event) == (Claim("x" * 128, alias=True),)


def test_a_number_that_python_does_not_read_is_no_id() -> None:
    event = an_event(kind="identify", properties=f'{{"anonymous_id": {"1" * 5000}}}')

    refused = identifying.claims_of(event)

    assert isinstance(refused, Refused)
    assert refused.field == "properties.anonymous_id"
