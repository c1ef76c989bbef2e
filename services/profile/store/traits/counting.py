"""Events of a turn taken into states, in memory."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from services.profile.convert.candidates import Candidate
from services.profile.model.people import Event, PersonKey
from services.profile.model.traits import Trait, Value
from services.profile.rules import traits as rules
from services.profile.store.traits.states import States, Subject

Place: TypeAlias = tuple[int, int, str, int]
"""Where an event stands in the log."""


class Wanted(NamedTuple):
    """An event that a trait wants, and whose it is."""

    person: PersonKey
    trait: Trait
    candidate: Candidate


class Count:
    """Takes the events of a turn into the states."""

    def __init__(self, states: States, zones: Mapping[PersonKey, str], now_us: int) -> None:
        self._states = states
        self._zones = zones
        self._now_us = now_us
        self._touched: set[tuple[PersonKey, Trait, str]] = set()

    def take(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        """Take events in; return those that count."""
        counted = []
        for one in wanted:
            person, trait, candidate = one
            if count_one(self._states, person, trait, candidate, self._zones.get(person, "")):
                self._touched.add((person, trait, candidate.event.profile_id))
                counted.append(one)
        return counted

    def walk(
        self, kept: Iterable[Event], wanted: Iterable[Wanted], at: Mapping[Place, PersonKey]
    ) -> dict[Place, Mapping[Trait, Value]]:
        """Take events in by order; return the values that had changed by each of these places."""
        by_place: defaultdict[Place, list[Wanted]] = defaultdict(list)
        for one in wanted:
            by_place[place_of(one.candidate.event)].append(one)
        watched = {*at.values()} & {one.person for found in by_place.values() for one in found}
        passing: dict[PersonKey, dict[Trait, Value]] = {person: {} for person in watched}
        seen: dict[Place, Mapping[Trait, Value]] = {}
        for event in kept:
            place = place_of(event)
            for one in self.take(by_place.get(place, ())):
                if one.person in passing:
                    passing[one.person][one.trait] = self._value(one.person, one.trait)
            if at.get(place) in passing:
                seen[place] = dict(passing[at[place]])
        return seen

    def finish(self) -> set[Subject]:
        """Return whose states of which traits changed; what no window holds again is let go."""
        for person, trait, member_id in self._touched:
            rules.prune(trait, self._states.of(person, trait)[member_id], self._now_us)
        return {(person, trait) for person, trait, _ in self._touched}

    def _value(self, person: PersonKey, trait: Trait) -> Value:
        zone = rules.known_zone(self._zones.get(person, ""))
        return rules.value(trait, list(self._states.of(person, trait).values()), zone, self._now_us)


def place_of(event: Event) -> Place:
    """Return where the event stands in the log."""
    return event.receive_us, event.log_partition, event.log_position, event.log_index


def count_one(
    states: States, person: PersonKey, trait: Trait, candidate: Candidate, zone: str
) -> bool:
    """Take one event into the state of its id; return whether it counts."""
    if not candidate.matches(trait):
        return False
    event = candidate.event
    before = states.of(person, trait).get(event.profile_id)
    properties = candidate.properties_for(trait)
    after = rules.take(trait, before, event, properties, time_zone=rules.known_zone(zone))
    if after is None:
        return False
    states.put(person, trait, event.profile_id, after)
    return True
