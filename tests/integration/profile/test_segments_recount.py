"""Makes sure that segments kept up step by step hold whom a naive look at everybody finds.

Random lives: attributes, events, time, ids that are united and parted, segments that are declared
in the middle of it and built bit by bit.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from beckon.profile.v1 import identity_service_pb2 as identity_pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.profile.store import connect
from tests.effort import examples
from tests.integration.profile.segmenting import Segments
from tests.integration.profile.world import NOW, Profiles

IDS = ("a", "b", "c", "d")
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@dataclass
class Person:
    """Somebody as the model has her."""

    attributes: Mapping[str, object]
    done: list[tuple[str, datetime]]
    now: datetime

    def within(self, kind: str, window: timedelta) -> int:
        return sum(one == kind and self.now - window < at <= self.now for one, at in self.done)

    def ends_soon(self) -> bool:
        end = self.attributes.get("end")
        return isinstance(end, str) and self.now < datetime.fromisoformat(end) <= self.now + DAY


SEGMENTS: Mapping[str, tuple[str, Callable[[Person], bool]]] = {
    "gold": (
        'profile.attributes.plan == "gold"',
        lambda one: one.attributes.get("plan") == "gold",
    ),
    "other": (
        '!(profile.attributes.plan == "gold") || profile.counters.opened.count > 2',
        lambda one: (
            (one.attributes.get("plan", "gold") != "gold")
            or sum(kind == "opened" for kind, _ in one.done) > 2
        ),
    ),
    "busy": (
        'event_count("opened", duration("24h")) >= 2',
        lambda one: one.within("opened", DAY) >= 2,
    ),
    "silent": (
        'profile.last_seen_time <= now - duration("48h")',
        lambda one: max(at for _, at in one.done) <= one.now - 2 * DAY,
    ),
    "ending": (
        (
            'timestamp(profile.attributes.end) - now <= duration("24h")'
            " && now < timestamp(profile.attributes.end)"
        ),
        Person.ends_soon,
    ),
}


@dataclass
class Model:
    """What was recorded under each id, and which ids are one person."""

    now: datetime = NOW
    written: dict[str, dict[str, tuple[datetime, object]]] = field(default_factory=dict)
    done: dict[str, list[tuple[str, datetime]]] = field(default_factory=dict)
    edges: list[tuple[str, str, identity_pb.Merge]] = field(default_factory=list)

    def root(self, person: str) -> str:
        roots = {one: one for one in IDS}
        for gone, stays, _ in self.edges:
            old, new = roots[gone], roots[stays]
            roots = {one: new if root == old else root for one, root in roots.items()}
        return roots[person]

    def people(self) -> dict[str, Person]:
        found: dict[str, Person] = {}
        for root in IDS:
            members = [one for one in IDS if self.root(one) == root and one in self.done]
            if members:
                latest: dict[str, tuple[datetime, object]] = {}
                for one in members:
                    for key, at in self.written[one].items():
                        latest[key] = max(latest.get(key, at), at, key=lambda pair: pair[0])
                done = [each for one in members for each in self.done[one]]
                attributes = {key: value for key, (_, value) in latest.items()}
                found[root] = Person(attributes, done, self.now)
        return found


# Where much happens to few, much comes together.
ids = st.sampled_from(["a", "a", "a", "b", "b", "c", "d"])
writes = st.one_of(
    st.tuples(st.just("plan"), st.sampled_from(["gold", "free"])),
    st.tuples(st.just("end"), st.integers(-1, 4)),
)
happenings = st.tuples(st.just("do"), ids, st.sampled_from(["opened", "opened", "bought"]))
actions = st.lists(
    st.one_of(
        st.tuples(st.just("write"), ids, writes),
        happenings,
        happenings,
        happenings,
        st.tuples(st.just("wait"), st.sampled_from([1, 12, 23, 24, 25, 48, 50]), st.none()),
        st.tuples(st.just("merge"), ids, ids),
        st.tuples(st.just("unmerge"), st.integers(0, 3), st.none()),
        st.tuples(st.just("declare"), st.sampled_from(sorted(SEGMENTS)), st.none()),
        st.tuples(st.just("build"), st.none(), st.none()),
    ),
    min_size=5,
    max_size=30,
)
_workspaces = count()


@dataclass
class Life:
    """One random life, lived by the service and by the model."""

    segments: Segments
    model: Model = field(default_factory=Model)
    declared: list[str] = field(default_factory=list)

    async def live(self, action: str, one: object, other: object) -> None:
        self._tick(SECOND)
        match action, one, other:
            case "write", str(person), (str(key), value):
                await self._write(person, key, value)
            case "do", str(person), str(kind):
                await self.segments.happen(kind, person)
                self._did(person, kind)
            case "wait", int(hours), _:
                self._tick(timedelta(hours=hours))
                await self.segments.due()
            case "merge", str(gone), str(stays):
                await self._merge(gone, stays)
            case "unmerge", int(at), _ if at < len(self.model.edges):
                _, _, merge = self.model.edges.pop(at)
                request = identity_pb.UnmergeProfilesRequest(name=merge.name)
                await self.segments.profiles.identity.UnmergeProfiles(request, None)
            case "declare", str(name), _ if name not in self.declared:
                self.declared.append(name)
                await self.segments.create(name, SEGMENTS[name][0])
            case "build", _, _:
                await self.segments.builder.run_once()
            case _:
                pass

    async def check(self) -> None:
        self._tick(SECOND)
        await self.segments.due()
        await self.segments.build()
        people = self.model.people()
        for name in self.declared:
            expected = [who for who, person in people.items() if SEGMENTS[name][1](person)]
            assert await self.segments.members(name) == expected, name

    def _tick(self, span: timedelta) -> None:
        self.segments.profiles.clock.advance(span)
        self.model.now += span

    async def _write(self, person: str, key: str, value: object) -> None:
        if isinstance(value, int):
            value = (self.model.now + value * DAY).isoformat()
        await self.segments.update(person, **{key: value})
        self._did(person, "profile_updated")
        self.model.written[person][key] = self.model.now, value

    async def _merge(self, gone: str, stays: str) -> None:
        model = self.model
        known = gone in model.done and stays in model.done
        if not known or model.root(gone) == model.root(stays):
            return
        request = identity_pb.MergeProfilesRequest(
            into=f"{self.segments.parent}/profiles/{stays}",
            **{"from": f"{self.segments.parent}/profiles/{gone}"},
        )
        merge = await self.segments.profiles.identity.MergeProfiles(request, None)
        model.edges.append((gone, stays, merge))

    def _did(self, person: str, kind: str) -> None:
        self.model.done.setdefault(person, []).append((kind, self.model.now))
        self.model.written.setdefault(person, {})


@settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(script=actions)
def test_segments_hold_whom_a_look_at_everybody_finds(
    database_url: str, script: list[tuple[str, object, object]]
) -> None:
    async def live() -> None:
        async with connect(database_url, size=4) as database:
            workspace = f"w{next(_workspaces)}"
            life = Life(Segments(Profiles(database_url, database), piece=1, workspace=workspace))
            for name in ("gold", "busy", "silent"):
                await life.live("declare", name, None)
            for person in IDS:
                await life.live("do", person, "bought")
            for action in script:
                await life.live(*action)
            await life.check()

    asyncio.run(live())
