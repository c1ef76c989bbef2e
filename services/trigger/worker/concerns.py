"""Whom and what the events of a turn concern."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import is_

from services.trigger.convert.events import named
from services.trigger.model import DigestQuestion, HistoryQuestion, Key, Person
from services.trigger.rules import (
    Book,
    ask_of_entry,
    ask_of_gathering,
    ask_of_goals,
    ask_of_undo,
    looks_back,
    named_by,
)
from services.trigger.worker.batch import Item
from services.trigger.worker.catalogue import Catalogue

Someone = tuple[str, str]
"""Workspace and profile id."""


@dataclass(frozen=True, slots=True)
class Concerns:
    """What a turn may touch."""

    keys: set[Key]
    guarded: set[Key]
    """Those that turns of other partitions may touch too."""
    asked: dict[Someone, tuple[str, ...]]
    """Everybody, by the id used and by the id the person goes by; of those with several ids,
    the id the person goes by and all of them."""

    history: HistoryQuestion = field(default_factory=HistoryQuestion)
    digests: DigestQuestion = field(default_factory=DigestQuestion)

    def ask(self, workspace: str, named: str, person: Person) -> None:
        """Have it asked under which id the passages of somebody are."""
        members = (person.profile, *person.members) if person.members else ()
        for one in (named or person.profile, person.profile):
            self.asked[workspace, one] = members

    def guarding(self, several: Container[Someone]) -> "Concerns":
        """Return the same with the keys of people guarded who have or had several ids."""
        more = {key for key in self.keys if (key.workspace, key.profile) in several}
        return replace(self, guarded=self.guarded | more)


def recipients_of(items: Iterable[Item], catalogue: Catalogue) -> set[Someone]:
    """Return who is named by events, other than who did them."""
    found: set[Someone] = set()
    for item in items:
        event = item.occurrence
        for plan in catalogue.book(event.workspace).told_by(event):
            if plan.elsewhere:
                found |= {(event.workspace, one) for one in named_by(plan, event).ids}
    return found


def people_around(item: Item, people: Mapping[Someone, Person], book: Book) -> dict[str, Person]:
    """Return the people of an event, by the ids it names and by the ids they go by."""
    event = item.occurrence
    around = {event.profile: item.actor}
    for plan in book.told_by(event):
        for one in named_by(plan, event).ids if plan.elsewhere else ():
            person = people[event.workspace, one]
            around[one] = person
            around.setdefault(person.profile, person)
    return around


def concerns_of(
    items: Iterable[Item],
    people: Mapping[Someone, Person],
    catalogue: Catalogue,
    *,
    thorough: bool,
) -> Concerns:
    """Return the keys to look up, those that others may touch too, and whom they are of."""
    concerns = Concerns(set(), set(), {})
    for item in items:
        event = item.occurrence
        book = catalogue.book(event.workspace)
        concerns.ask(event.workspace, event.member, item.actor)
        for plan in book.stopped_by(event):
            concerns.keys.add(plan.key(event.profile))
            if plan.digest is not None:
                concerns.digests.removing.add(plan.key(event.profile))
            if plan.elsewhere:
                concerns.guarded.add(plan.key(event.profile))
        for plan in book.aimed_at(event):
            key = plan.key(event.profile)
            concerns.keys.add(key)
            ask_of_goals(concerns.history, plan, event, key)
        for plan in book.begun_by(event):
            for one in named_by(plan, event).ids:
                person = people[event.workspace, one] if plan.elsewhere else item.actor
                key = plan.key(person.profile)
                ask_of_entry(concerns.history, plan, event, key)
                ask_of_gathering(concerns.digests, plan, event, key)
                if thorough or looks_back(plan):
                    concerns.keys.add(key)
                if plan.elsewhere:
                    concerns.ask(event.workspace, one, person)
                    concerns.keys.add(key)
                    concerns.guarded.add(key)
        _ask_of_undoing(concerns, book, item, people)
    return concerns


def _ask_of_undoing(
    concerns: Concerns, book: Book, item: Item, people: Mapping[Someone, Person]
) -> None:
    event = item.occurrence
    for plan in book.undone_by(event):
        for one in named_by(plan, event).ids:
            person = people[event.workspace, one] if plan.elsewhere else item.actor
            key = plan.key(person.profile)
            ask_of_undo(concerns.digests, plan, event, key)
            concerns.keys.add(key)
            if plan.elsewhere:
                concerns.ask(event.workspace, one, person)
                concerns.guarded.add(key)


def renamed(
    items: list[Item], people: dict[Someone, Person], identities: Mapping[Someone, str]
) -> tuple[list[Item], dict[Someone, Person]]:
    """Return everybody under the id that passages are under; the same objects if all are."""
    items_after = [_renamed(item, identities) for item in items]
    people_after = {one: under(person, identities, one) for one, person in people.items()}
    if all(map(is_, items, items_after)) and all(map(is_, people.values(), people_after.values())):
        return items, people
    return items_after, people_after


def _renamed(item: Item, identities: Mapping[Someone, str]) -> Item:
    """Return the event of the person whom passages know it as."""
    event = item.occurrence
    actor = under(item.actor, identities, (event.workspace, event.member or event.profile))
    if actor is item.actor:
        return item
    return replace(item, occurrence=named(event, actor.profile), actor=actor)


def under(person: Person, identities: Mapping[Someone, str], used: Someone) -> Person:
    """Return the person under the id that passages are under, known by the id that was used."""
    workspace, _ = used
    profile = identities.get(used) or identities.get((workspace, person.profile))
    if profile is None or profile == person.profile:
        return person
    return replace(person, profile=profile)
