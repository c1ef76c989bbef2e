"""Plays a scenario and says what came of it."""

from dataclasses import dataclass, replace
from datetime import timedelta

from services.profile.convert.traits import declared
from services.throttle.convert import frequency_cap
from services.trigger.convert.versions import to_in_flight
from simulator.compare import Comparison, compare, compare_goals
from simulator.engine import Engine
from simulator.records import Goal, Kept, Message
from simulator.scenario import (
    Act,
    Ask,
    Edit,
    Event,
    Membership,
    Merge,
    Move,
    Provide,
    Relate,
    Say,
    Scenario,
    Someone,
    Write,
)

# Nothing waits longer than a year and its windows; who recurs would go on for ever.
_AFTER = timedelta(days=800)


class NotPlayed(Exception):
    """A step of the scenario cannot be: the story is wrong, not its end."""

    def __init__(self, place: str, text: str) -> None:
        """Say what, and where the file says so."""
        super().__init__(text)
        self.place = place
        self.text = text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    comparison: Comparison
    messages: tuple[Message, ...]
    kept: tuple[Kept, ...]
    goals: tuple[Goal, ...] = ()


def play(scenario: Scenario) -> Outcome:
    """Play a scenario to its end.

    Raises:
        NotPlayed: A step cannot be.
        MeshError: A campaign, cap, trait, segment or region is not what services take.
    """
    engine = prepared(scenario)
    for step in scenario.steps:
        engine.advance(step.time, inclusive=False)
        _act(engine, step.act, step.place)
    last = scenario.steps[-1].time if scenario.steps else scenario.begin
    engine.finish(scenario.until or last + _AFTER, recur=scenario.until is not None)
    messages, kept, goals = tuple(engine.messages), tuple(engine.kept), tuple(engine.goals)
    comparison = compare(scenario.messages, messages, scenario.refusals, kept)
    missed, more = compare_goals(scenario.goals, goals)
    comparison = replace(comparison, not_reached=missed, reached=more)
    return Outcome(scenario, comparison, messages, kept, goals)


def prepared(scenario: Scenario) -> Engine:
    """Return an engine with all that there is at the beginning."""
    engine = Engine(scenario.begin, scenario.workspace)
    for cap in scenario.caps:
        engine.gatekeeper.keep(frequency_cap(cap))
    for trait in scenario.traits:
        engine.people.declare(declared(trait))
    for one in scenario.profiles:
        _introduce(engine, one)
    for segment in scenario.segments:
        engine.add_segment(_id(segment.name), segment)
    for region in scenario.regions:
        engine.add_region(_id(region.name), region)
    for launched in scenario.campaigns:
        engine.put_campaign(launched.id, launched.campaign, state=launched.state)
    return engine


def _introduce(engine: Engine, one: Someone) -> None:
    for channel, consent in one.consents.items():
        engine.say(one.id, channel, consent)
    for segment in one.segments:
        engine.memberships.state(segment, one.id, inside=True)
    for kind, others in one.relations.items():
        for other in others:
            engine.crowds.relate(kind, one.id, other, {})
    why = engine.write(one.id, one.attributes)
    if why:
        raise NotPlayed("", f"profile {one.id}: {why}")


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _act(engine: Engine, act: Act, place: str) -> None:
    why = ""
    match act:
        case Event():
            why = _do(engine, act)
        case Write(profile, attributes):
            why = engine.write(profile, attributes)
        case Merge(into, other):
            engine.unite(into, other)
        case Say(profile, channel, consent):
            engine.say(profile, channel, consent)
        case Membership(profile, segment, inside):
            engine.set_member(profile, segment, inside=inside)
        case Relate():
            _relate(engine, act)
        case Move() | Edit() | Provide() | Ask():
            _steer(engine, act)
    if why:
        raise NotPlayed(place, why)


def _steer(engine: Engine, act: Move | Edit | Provide | Ask) -> None:
    match act:
        case Move(campaign, state):
            engine.move_campaign(campaign, state)
        case Edit(campaign, content, in_flight):
            engine.edit_campaign(campaign, content, to_in_flight(in_flight))
        case Provide(channel, answer):
            engine.set_provider(channel, answer)
        case Ask():
            engine.ask(act.campaign, act.profile, act.properties, act.id)


def _relate(engine: Engine, act: Relate) -> None:
    if act.ends:
        engine.crowds.unrelate(act.kind, act.profile, act.other)
    else:
        engine.crowds.relate(act.kind, act.profile, act.other, act.attributes)


def _do(engine: Engine, event: Event) -> str:
    properties = dict(event.properties)
    if event.of:
        sent = engine.latest(event.of, event.profile)
        if sent is None:
            return f"{event.profile} has had no message of {event.of}"
        properties = {
            "delivery": sent.delivery,
            "campaign": sent.campaign,
            "channel": sent.channel,
        } | properties
    engine.hear(
        event.type,
        event.profile,
        properties,
        event_id=event.id,
        occur_time=event.occur_time,
    )
    return ""
