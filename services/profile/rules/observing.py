"""What events make of a person."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from services.profile.model import (
    PROFILE_UPDATED,
    Event,
    Facts,
    Observation,
    Profile,
    Refused,
)
from services.profile.model.persons import IDENTIFY, Person, PersonObservation, Recorded
from services.profile.rules.attributes import Types
from services.profile.rules.facts import patch
from services.profile.rules.identifying import LATE_US, NAMING, attributes_of, is_late
from services.profile.rules.identity import (
    COUNTER_TYPES_MAX,
    fold_counters,
    fold_facts,
    say_again,
    take_over,
)
from services.profile.rules.operations import EVENT, Operations, operations

NOT_THEIR_DOING = frozenset(
    {
        "message_sent",
        "message_failed",
        "message_unknown",
        "message_canceled",
        "message_expired",
        "message_delivered",
        "message_bounced",
        "segment_entered",
        "segment_exited",
        "profile_merged",
        "profile_unmerged",
        "profile_erased",
        "attribute_changed",
        "condition_entered",
        "condition_exited",
    }
)
"""Types that say what was done to people: they are counted, and nobody was seen by them."""

_WRITING = frozenset({PROFILE_UPDATED, IDENTIFY})


def observe(
    profile: Profile,
    events: Sequence[Event],
    *,
    wanted: frozenset[str] = frozenset(),
    types: Types | None = None,
) -> Observation:
    """Return what `events`, in this order, make of `profile`, a person with one id.

    Counts each type (up to 512 types), moves first and last seen, and lets
    `profile_updated` set facts: the one received last wins. An event that occurred
    more than 30 days before it was received is kept and changes nothing. One with
    a bad fact, one of another type than its attribute has too, is refused as a whole,
    counts for nothing and stays out of the history: it belongs into the quarantine,
    whence it can be replayed. The version grows by one, however many events there are,
    also when they only come late: whoever writes the same person at the same time must
    notice.
    """
    _, facts, counted, first, last, traits = profile
    counters = dict(counted)
    kept: list[Event] = []
    stood: list[tuple[Event, Profile]] = []
    refused: list[tuple[Event, Refused]] = []
    version = profile.version + 1
    for event in events:
        occur_us, kind = event.occur_us, event.type
        if event.receive_us - occur_us <= LATE_US:
            if kind in _WRITING:
                types = types or Types()
                revised = _revise(facts, event, types)
                if isinstance(revised, Refused):
                    refused.append((event, revised))
                    continue
                facts, _ = revised
            counter = counters.get(kind)
            if counter is not None:
                total, earliest, latest = counter
                counters[kind] = (total + 1, min(earliest, occur_us), max(latest, occur_us))
            elif len(counters) < COUNTER_TYPES_MAX:
                counters[kind] = (1, occur_us, occur_us)
            if kind not in NOT_THEIR_DOING:
                first = min(first, occur_us) if first else occur_us
                last = max(last, occur_us)
        kept.append(event)
        if kind in wanted:
            stood.append((event, Profile(version, facts, dict(counters), first, last, traits)))
    if not kept:
        return Observation(profile, kept, stood, refused)
    after = Profile(version, facts, counters, first, last, traits)
    return Observation(after, kept, stood, refused)


def observe_person(
    person: Person,
    events: Sequence[Event],
    *,
    wanted: frozenset[str] = frozenset(),
    types: Types | None = None,
) -> PersonObservation:
    """Return what events under any of her ids make of a person.

    Each event counts under its id and in the union; what a write changes of the union
    is recorded under the id that wrote it.
    """
    if person.contributions:
        return _Union(person, Types() if types is None else types).observe(events, wanted)
    seen = observe(person.profile, events, wanted=wanted, types=types)
    return PersonObservation(
        _with(person, seen.profile),
        seen.kept,
        [(event, _with(person, profile)) for event, profile in seen.stood] if seen.stood else [],
        seen.refused,
    )


class _Tally:
    """What is counted, of one id or of a union."""

    __slots__ = ("counters", "first", "last")

    def __init__(self, profile: Profile) -> None:
        self.counters = dict(profile.counters)
        self.first = profile.first_seen_us
        self.last = profile.last_seen_us

    def count(self, event: Event) -> None:
        kind, at_us = event.type, event.occur_us
        if kind in self.counters or len(self.counters) < COUNTER_TYPES_MAX:
            total, first, last = self.counters.get(kind, (0, at_us, at_us))
            self.counters[kind] = (total + 1, min(first, at_us), max(last, at_us))
        if kind not in NOT_THEIR_DOING:
            self.first = min(self.first, at_us) if self.first else at_us
            self.last = max(self.last, at_us)

    def profile(self, version: int, facts: Facts, traits: str) -> Profile:
        return Profile(version, facts, dict(self.counters), self.first, self.last, traits)


class _Union:
    """A person of several ids while her events are gone through."""

    def __init__(self, person: Person, types: Types) -> None:
        self._person = person
        self._types = types
        self._version = person.profile.version + 1
        self._facts = person.profile.facts
        self._own = {key: one.profile.facts for key, one in person.contributions.items()}
        self._tally = _Tally(person.profile)
        self._tallies: dict[str, _Tally] = {}

    def observe(self, events: Sequence[Event], wanted: frozenset[str]) -> PersonObservation:
        seen = PersonObservation(self._person, [], [], [])
        for event in events:
            if not is_late(event):
                if event.type in _WRITING:
                    refused = self._write(event)
                    if refused is not None:
                        seen.refused.append((event, refused))
                        continue
                self._count(event)
            seen.kept.append(event)
            if event.type in wanted:
                now = self._tally.profile(self._version, self._facts, self._person.profile.traits)
                seen.stood.append((event, self._person._replace(profile=now)))
        return seen._replace(person=self._ended()) if seen.kept else seen

    def _write(self, event: Event) -> Refused | None:
        revised = _revise(self._facts, event, self._types)
        if isinstance(revised, Refused):
            return revised
        facts, keys = revised
        mine = self._own[event.profile_id]
        taken = take_over(mine, before=self._facts, after=facts)
        taken = say_again(taken, facts, keys, at_us=event.receive_us)
        if taken != mine:
            self._own[event.profile_id] = taken
            self._facts = fold_facts(self._own)
        return None

    def _count(self, event: Event) -> None:
        tally = self._tallies.get(event.profile_id)
        if tally is None:
            own = self._person.contributions[event.profile_id].profile
            tally = self._tallies[event.profile_id] = _Tally(own)
        tally.count(event)
        self._tally.count(event)

    def _ended(self) -> Person:
        contributions = {
            key: self._recorded(key, one) for key, one in self._person.contributions.items()
        }
        if len(self._tally.counters) >= COUNTER_TYPES_MAX:
            # Which types are shown is not for their order of arrival to say.
            self._tally.counters = fold_counters(
                one.profile.counters for one in contributions.values()
            )
        profile = self._tally.profile(self._version, self._facts, self._person.profile.traits)
        return self._person._replace(profile=profile, contributions=contributions)

    def _recorded(self, key: str, before: Recorded) -> Recorded:
        facts, tally = self._own[key], self._tallies.get(key)
        if tally is not None:
            return before._replace(profile=tally.profile(0, facts, "{}"))
        if facts is not before.profile.facts:
            return before._replace(profile=before.profile._replace(facts=facts))
        return before


def _with(person: Person, profile: Profile) -> Person:
    # A third of the cost of `_replace`.
    return Person(
        person.key,
        profile,
        person.member_ids,
        person.contributions,
        person.create_time,
        person.update_time,
    )


def named_attributes(events: Iterable[Event]) -> dict[str, set[str]]:
    """Return by workspace the attributes that events write: their types must be known."""
    named: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.type in _WRITING:
            wanted = _operations(event)
            if not isinstance(wanted, Refused):
                named[event.workspace].update(*wanted)
    return named


def _operations(event: Event) -> Operations | Refused:
    return attributes_of(event) if event.type == IDENTIFY else operations(event.properties)


def _revise(facts: Facts, event: Event, types: Types) -> tuple[Facts, Collection[str]] | Refused:
    """Return the facts after an event that writes some, and the keys it named."""
    wanted = _operations(event)
    if isinstance(wanted, Refused):
        return wanted
    naming = NAMING if event.type == IDENTIFY else EVENT
    revised = patch(facts, wanted, at_us=event.receive_us, types=types, naming=naming)
    if isinstance(revised, Refused):
        return revised
    return revised, {*wanted.write, *wanted.unset}
