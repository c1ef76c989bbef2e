"""People in memory: what the rules of profile make of events, writes and merges."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from mesh.errors import MeshError
from mesh.expressions import EventFacts, ExpressionFailed, compile_event_expression
from mesh.expressions import make_event_context as context_of
from mesh.ids import event_uid
from services.profile.model import Earlier, Event, Refused
from services.profile.model.attributes import AttributeType
from services.profile.model.persons import Person as Known
from services.profile.model.traits import State, Trait
from services.profile.rules import Types, sort_out
from services.profile.rules.facts import patch
from services.profile.rules.identity import rewrite, unite
from services.profile.rules.observing import observe_person
from services.profile.rules.operations import Operations
from services.profile.rules.traits import due, known_zone, take, value
from services.trigger.model import Occurrence, Person

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# For so long an event id is known.
_RECOGNISED_US = 7 * 86_400_000_000


class Change(NamedTuple):
    """What a write or an event changed of a person's attributes, addresses and traits."""

    profile: str
    key: str
    before: Any
    """None: it was not set."""
    after: Any


class People:
    """Everybody of one workspace."""

    def __init__(self, workspace: str) -> None:
        """Begin with nobody."""
        self._workspace = workspace
        self._people: dict[str, Known] = {}
        self._names: dict[str, str] = {}
        self._types: dict[str, AttributeType] = {}
        self._events: dict[UUID, list[Earlier]] = defaultdict(list)
        self._traits: dict[str, Trait] = {}
        self._states: dict[tuple[str, str], State] = {}
        # Never the same twice: a repeat comes from another place of the log.
        self._positions = count()

    @property
    def ids(self) -> list[str]:
        """Under which ids people go."""
        return sorted(self._people)

    def declare(self, trait: Trait) -> None:
        """Reckon a trait from now on."""
        self._traits[trait.trait_id] = trait

    def name_of(self, profile: str) -> str:
        """Return the id under which somebody goes."""
        return self._names.get(profile, profile)

    def members_of(self, profile: str) -> tuple[str, ...]:
        """Return all ids of a person."""
        return self._known(profile).ids

    def sees(self, event: Occurrence) -> str:
        """Take an event into account; say why not ('': it was), as for a repeat."""
        row = _row(event, self._workspace, str(next(self._positions)))
        sorting = sort_out([row], self._events, window_us=_RECOGNISED_US)
        if sorting.duplicates:
            return "duplicate"
        if sorting.reused:
            return "same id as another event"
        types = Types(self._types)
        seen = observe_person(self._known(row.profile_id), [row], types=types)
        if seen.refused:
            return seen.refused[0][1].description
        self._types |= types.new
        self._keep(seen.person)
        self._events[row.event_uid].append(
            Earlier(row.receive_us, row.fingerprint, row.log_partition, row.log_position)
        )
        self._reckon(row, event)
        return ""

    def write(self, profile: str, attributes: Mapping[str, Any], now: datetime) -> str:
        """Write attributes as a service does (None unsets one); say why not ('': done)."""
        known = self._known(profile)
        written = {key: json.dumps(one) for key, one in attributes.items() if one is not None}
        unset = tuple(key for key, one in attributes.items() if one is None)
        wanted = Operations(write=written, unset=unset)
        types = Types(self._types)
        at_us = _us(now)
        facts = patch(known.profile.facts, wanted, at_us=at_us, types=types)
        if isinstance(facts, Refused):
            return facts.description
        self._types |= types.new
        self._keep(rewrite(known, profile, facts, said={*attributes}, at_us=at_us))
        return ""

    def unite(self, into: str, other: str) -> tuple[str, ...]:
        """Make two ids one person; return all of hers, none if nothing changed."""
        one, two = self._known(into), self._known(other)
        if one.key == two.key:
            return ()
        united = unite(one, two)
        self._people.pop(two.key[1], None)
        self._names |= dict.fromkeys(united.member_ids, united.key[1])
        self._keep(united)
        return united.member_ids

    def person(self, profile: str, now: datetime) -> Person:
        """Return how somebody stands."""
        known = self._known(profile)
        facts, counters = known.profile.facts, known.profile.counters
        traits = self._values(known, now)
        return Person(
            profile=known.key[1],
            attributes=json.loads(facts.attributes),
            counts={kind: one[0] for kind, one in counters.items()},
            last_times={kind: _moment(one[2]) for kind, one in counters.items()},
            time_zone=facts.time_zone,
            locale=facts.locale,
            first_seen_time=_moment(known.profile.first_seen_us)
            if known.profile.first_seen_us
            else None,
            last_seen_time=_moment(known.profile.last_seen_us)
            if known.profile.last_seen_us
            else None,
            attributes_json=facts.attributes.encode(),
            traits=traits,
            traits_json=json.dumps(traits).encode(),
            members=known.member_ids,
        )

    def first_times(self, profile: str) -> dict[str, datetime]:
        """Return when each type of event occurred first."""
        counters = self._known(profile).profile.counters
        return {kind: _moment(one[1]) for kind, one in counters.items()}

    def facts(self, profile: str) -> dict[str, Any]:
        """Return attributes and addresses by key."""
        facts = self._known(profile).profile.facts
        found: dict[str, Any] = json.loads(facts.attributes)
        for key in ("email", "phone", "time_zone", "locale"):
            if getattr(facts, key):
                found[key] = getattr(facts, key)
        return found

    def changed(self, before: Mapping[str, Any], profile: str) -> list[Change]:
        """Return what is another since then."""
        after = self.facts(profile)
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        name = self.name_of(profile)
        return [Change(name, key, before.get(key), after.get(key)) for key in keys]

    def next_due(self, profile: str, now: datetime) -> datetime | None:
        """Return when time alone changes a trait next."""
        known = self._known(profile)
        zone = known_zone(known.profile.facts.time_zone)
        found = [
            at
            for trait in self._traits.values()
            if (at := due(trait, self._states_of(known, trait), zone, _us(now))) is not None
        ]
        return _moment(min(found)) if found else None

    def _known(self, profile: str) -> Known:
        name = self.name_of(profile)
        return self._people.get(name) or Known((self._workspace, name))

    def _keep(self, person: Known) -> None:
        self._people[person.key[1]] = person

    def _reckon(self, row: Event, event: Occurrence) -> None:
        zone = known_zone(self._known(row.profile_id).profile.facts.time_zone)
        for trait in self._traits.values():
            if trait.event_type != row.type or not _counts(trait, event):
                continue
            place = (row.profile_id, trait.trait_id)
            after = take(trait, self._states.get(place), row, event.properties, time_zone=zone)
            if after is not None:
                self._states[place] = after

    def _values(self, known: Known, now: datetime) -> dict[str, float]:
        zone = known_zone(known.profile.facts.time_zone)
        found: dict[str, float] = {}
        for trait in self._traits.values():
            said = value(trait, self._states_of(known, trait), zone, _us(now))
            if said.number is not None:
                found[trait.trait_id] = float(said.number)
            if trait.compare and said.previous is not None:
                found[f"{trait.trait_id}_previous"] = float(said.previous)
        return found

    def _states_of(self, known: Known, trait: Trait) -> Sequence[State]:
        places = ((member, trait.trait_id) for member in known.ids)
        return [self._states[place] for place in places if place in self._states]


def _row(event: Occurrence, workspace: str, position: str) -> Event:
    properties = event.properties_json.decode()
    content = f"{event.profile}\0{event.type}\0{event.occur_time.isoformat()}\0{properties}"
    digest = blake2b(content.encode(), digest_size=7).digest()
    return Event(
        receive_us=_us(event.receive_time),
        occur_us=_us(event.occur_time),
        fingerprint=int.from_bytes(digest),
        event_uid=event_uid(workspace, event.event_id),
        log_partition=0,
        log_index=0,
        workspace=workspace,
        profile_id=event.member or event.profile,
        event_id=event.event_id,
        type=event.type,
        log_position=position,
        properties=properties,
    )


def _counts(trait: Trait, event: Occurrence) -> bool:
    if not trait.filter:
        return True
    facts = EventFacts(event.event_id, event.type, event.occur_time, event.properties)
    try:
        return compile_event_expression(trait.filter).matches(context_of(facts))
    except (ExpressionFailed, MeshError):
        return False


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
