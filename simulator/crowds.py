"""Audiences: members of segments, whom a filter tells, who is related to somebody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from beckon.trigger.v1.campaign_service_pb2 import Audience, Recipient

from mesh.expressions import EventFacts, ExpressionFailed, compile_expression, make_context
from services.trigger.convert.campaigns import facts_of
from services.trigger.model import Person, Plan
from simulator.memberships import Memberships
from simulator.people import People


@dataclass(slots=True)
class Crowds:
    """Finds who is meant."""

    people: People
    memberships: Memberships
    _relations: dict[tuple[str, str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Attributes by kind, whose, and to whom."""

    def relate(self, kind: str, of: str, to: str, attributes: Mapping[str, Any]) -> None:
        """Let somebody relate to somebody."""
        self._relations[kind, of, to] = attributes

    def unrelate(self, kind: str, of: str, to: str) -> None:
        """Let somebody relate to somebody no more."""
        self._relations.pop((kind, of, to), None)

    def audience(self, plan: Plan, now: datetime) -> Iterator[Person]:
        """Yield whom a schedule is for, by id."""
        if plan.schedule is None:
            return
        audience = Audience.FromString(plan.schedule.audience)
        segment = audience.segment.rpartition("/")[2]
        for profile in self.people.ids:
            person = self.people.person(profile, now)
            match audience.WhichOneof("who"):
                case "segment":
                    meant = self.memberships.inside(segment, person, now)
                case "filter":
                    meant = _holds(audience.filter, person, {}, now)
                case _:
                    meant = True
            if meant:
                yield person

    def related(self, plan: Plan, profile: str, now: datetime) -> Iterator[tuple[str, Person]]:
        """Yield who is related to somebody as a campaign asks, with the id used, each once."""
        wanted = Recipient.Relation.FromString(plan.relation)
        names = set(self.people.members_of(profile))
        found: dict[str, tuple[str, Person]] = {}
        for (kind, of, to), attributes in sorted(self._relations.items(), key=lambda one: one[0]):
            mine, other = (of, to) if wanted.outgoing else (to, of)
            if kind != wanted.kind or mine not in names:
                continue
            if wanted.mutual and (kind, to, of) not in self._relations:
                continue
            person = self.people.person(other, now)
            if _blocked(self._relations, names, {person.profile, *person.members, other}):
                continue
            if wanted.filter and not _holds(wanted.filter, person, attributes, now):
                continue
            found.setdefault(person.profile, (other, person))
        yield from found.values()


def _blocked(relations: Mapping[tuple[str, str, str], Any], mine: set[str], hers: set[str]) -> bool:
    return any(
        kind == "blocks" and ((of in mine and to in hers) or (of in hers and to in mine))
        for kind, of, to in relations
    )


def _holds(filter_: str, person: Person, relation: Mapping[str, Any], now: datetime) -> bool:
    # Such a filter knows no event: its place serves for the relation.
    source = filter_.replace("relation.attributes", "event.properties")
    context = make_context(
        event=EventFacts("", "", now, dict(relation)), profile=facts_of(person), now=now
    )
    try:
        return compile_expression(source).matches(context)
    except ExpressionFailed:
        return False
