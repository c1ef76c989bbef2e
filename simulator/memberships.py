"""Who is in which segment, and of whom which condition holds."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from services.trigger.model import Person
from simulator.people import People
from simulator.watches import Watch


class Turned(NamedTuple):
    """Something began to hold of somebody, or ended."""

    watch: Watch
    profile: str
    holds: bool


class Memberships:
    """Remembers what held when it was last looked at, and what is said without a filter."""

    def __init__(self, people: People) -> None:
        """Begin with nothing to watch."""
        self._people = people
        self._watches: dict[tuple[str, str], Watch] = {}
        self._held: dict[tuple[str, str, str], bool] = {}
        self._stated: dict[str, set[str]] = {}

    def watch(self, watch: Watch, now: datetime) -> None:
        """Watch something: of whom it holds already, it has begun without an event."""
        place = (watch.property, watch.id)
        if place in self._watches:
            return
        self._watches[place] = watch
        for profile in self._people.ids:
            person = self._people.person(profile, now)
            self._held[*place, profile] = watch.holds(person, now)

    def forget(self, keep: Callable[[Watch], bool]) -> None:
        """Watch only these from now on."""
        for place, watch in list(self._watches.items()):
            if not keep(watch):
                del self._watches[place]
                self._held = {
                    name: holds for name, holds in self._held.items() if name[:2] != place
                }

    def knows(self, segment: str) -> bool:
        """Say whether a filter tells who is in a segment."""
        return ("segment", segment) in self._watches

    def state(self, segment: str, profile: str, *, inside: bool) -> bool:
        """Say who is in a segment that no filter tells; return whether that is news."""
        members = self._stated.setdefault(segment, set())
        if inside == (profile in members):
            return False
        (members.add if inside else members.discard)(profile)
        return True

    def inside(self, segment: str, person: Person, now: datetime) -> bool:
        """Say whether somebody is in a segment."""
        watch = self._watches.get(("segment", segment))
        if watch is not None:
            return watch.holds(person, now)
        ids = {person.profile, *person.members}
        return bool(ids & self._stated.get(segment, set()))

    def look(self, profiles: Iterable[str], now: datetime) -> Iterator[Turned]:
        """Yield what has begun or ended of some people since they were looked at."""
        for profile in profiles:
            person = self._people.person(profile, now)
            for place, watch in self._watches.items():
                holds = watch.holds(person, now)
                name = (*place, person.profile)
                if holds != self._held.get(name, False):
                    self._held[name] = holds
                    yield Turned(watch, person.profile, holds)

    def next_look(self, now: datetime) -> tuple[datetime, str] | None:
        """Return when time alone next begins or ends something, and of whom."""
        found: list[tuple[datetime, str]] = []
        for profile in self._people.ids if self._watches else ():
            person = self._people.person(profile, now)
            moments = [
                moment
                for watch in self._watches.values()
                for moment in watch.moments(person)
                if moment > now
            ]
            trait = self._people.next_due(profile, now)
            if trait is not None and trait > now:
                moments.append(trait)
            if moments:
                found.append((min(moments), profile))
        return min(found, default=None)
