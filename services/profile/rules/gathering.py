"""What events make of everybody in a turn, and who becomes one person on the way."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from services.profile.model import Event, PersonKey
from services.profile.model.persons import (
    NEVER,
    Claim,
    Edge,
    EdgeState,
    Observed,
    Person,
    PersonObservation,
    Renaming,
    Union,
)
from services.profile.rules.attributes import Types
from services.profile.rules.identifying import edge_of
from services.profile.rules.identity import unite
from services.profile.rules.observing import observe_person

Claims = Mapping[Event, tuple[Claim, ...]]

_Group = tuple[Person | None, list[Event]]
"""Who is known under the name, and what happened under it."""

_NO_CLAIMS: Claims = MappingProxyType({})
_NO_EDGES: Mapping[tuple[str, UUID], Edge] = MappingProxyType({})
_NO_TYPES: Mapping[str, Types] = MappingProxyType({})


def observe_people(
    people: Mapping[PersonKey, Person],
    events: Sequence[Event],
    *,
    claims: Claims = _NO_CLAIMS,
    edges: Mapping[tuple[str, UUID], Edge] = _NO_EDGES,
    wanted: frozenset[str] = frozenset(),
    types: Mapping[str, Types] = _NO_TYPES,
    now: datetime = NEVER,
) -> Observed:
    """Return what `events`, in this order, make of everybody.

    `people` holds those who are known, by every id that matters. `claims` are those of
    `identify` events: what comes after such an event meets the union. An edge that is
    among `edges` was made before and is not made again.
    """
    observed = Observed()
    groups: dict[PersonKey, _Group] = {}
    for event in events:
        asked = event.person
        person = people.get(asked)
        name = asked if person is None else person.key
        group = groups.get(name)
        if group is None:
            groups[name] = (person, [event])
        else:
            group[1].append(event)
    claims = {event: claims[event] for event in events if event in claims} if claims else {}
    for cluster in _clusters(people, claims):
        theirs = [event for event in events if _name(people, event.person) in cluster]
        _Cluster(people, edges, wanted, types, now).observe(theirs, claims, observed)
        for name in cluster:
            groups.pop(name, None)
    for name, (known, theirs) in groups.items():
        before = known or Person(name)
        seen = observe_person(before, theirs, wanted=wanted, types=types.get(name[0]))
        if seen.kept:
            observed.changes.append((known, seen.person))
        _take(seen, observed)
    return observed


def _clusters(people: Mapping[PersonKey, Person], claims: Claims) -> list[set[PersonKey]]:
    """Return by name the people whom claims may unite, who must be gone through together."""
    clusters: list[set[PersonKey]] = []
    for event, theirs in claims.items():
        cluster = {_name(people, event.person)}
        cluster |= {_name(people, (event.workspace, claim.member_id)) for claim in theirs}
        apart = [other for other in clusters if not other & cluster]
        clusters = [*apart, cluster.union(*(other for other in clusters if other & cluster))]
    return clusters


def _take(seen: PersonObservation, observed: Observed) -> None:
    observed.kept.extend(seen.kept)
    # Mostly there are none: looking is cheaper than adding nothing.
    if seen.stood:
        observed.stood.extend(seen.stood)
    if seen.refused:
        observed.refused.extend(seen.refused)


def _name(people: Mapping[PersonKey, Person], key: PersonKey) -> PersonKey:
    person = people.get(key)
    return key if person is None else person.key


class _Cluster:
    """People who may become one while their events are gone through, in order."""

    def __init__(
        self,
        people: Mapping[PersonKey, Person],
        edges: Mapping[tuple[str, UUID], Edge],
        wanted: frozenset[str],
        types: Mapping[str, Types],
        now: datetime,
    ) -> None:
        self._before = people
        self._edges = dict(edges)
        self._wanted = wanted
        self._types = types
        self._now = now
        self._people: dict[PersonKey, Person] = {}
        """As they are by now, by each id met."""
        self._origins: dict[PersonKey, list[Person]] = {}
        """By name, of whom they were made."""
        self._unions: defaultdict[PersonKey, list[Union]] = defaultdict(list)

    def observe(self, events: Sequence[Event], claims: Claims, observed: Observed) -> None:
        for event in events:
            self._observe(event, claims.get(event, ()), observed)
        for key, origins in self._origins.items():
            after = self._people[key]
            if len(origins) > 1:
                observed.renamings.append(Renaming(origins, [after], self._unions[key]))
            elif after is not origins[0]:
                (before,) = origins
                version = before.profile.version + 1
                once = after._replace(profile=after.profile._replace(version=version))
                observed.changes.append((before if before.profile.version else None, once))

    def _observe(self, event: Event, claims: Sequence[Claim], observed: Observed) -> None:
        person, unions, refused = self._claimed(event, claims)
        seen = observe_person(
            person, [event], wanted=self._wanted, types=self._types.get(event.workspace)
        )
        _take(seen, observed)
        if not seen.kept:
            # Nothing of the event holds, and so nobody is united by it.
            return
        observed.refused_edges.extend(refused)
        self._edges |= {(edge.workspace, edge.merge_id): edge for edge in refused}
        for union, other in unions:
            self._edges[union.edge.workspace, union.edge.merge_id] = union.edge
            self._origins[union.person.key] += self._origins.pop(other.key)
            self._unions[union.person.key] += [*self._unions.pop(other.key, ()), union]
        for member in seen.person.ids:
            self._people[event.workspace, member] = seen.person

    def _claimed(
        self, event: Event, claims: Sequence[Claim]
    ) -> tuple[Person, list[tuple[Union, Person]], list[Edge]]:
        """Return who the event is about when its claims hold, and the edges that it makes."""
        person = self._person(event.person)
        unions: list[tuple[Union, Person]] = []
        refused: list[Edge] = []
        for claim in claims:
            if claim.member_id in person.ids:
                continue
            other = self._person((event.workspace, claim.member_id))
            edge = edge_of(event, claim, person, other, self._now)
            if (edge.workspace, edge.merge_id) in self._edges:
                continue
            if edge.state is EdgeState.REFUSED:
                refused.append(edge)
                continue
            person = unite(person, other)
            unions.append((Union(edge, person, other.ids), other))
        return person, unions, refused

    def _person(self, key: PersonKey) -> Person:
        known = self._people.get(key)
        if known is None:
            known = self._before.get(key) or Person(key)
            for member in known.ids:
                self._people[key[0], member] = known
            self._origins[known.key] = [known]
        return known
