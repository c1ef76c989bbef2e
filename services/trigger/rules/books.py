"""Which campaigns does an event concern?"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from services.trigger.model import ExceptionRule, Occurrence, Plan, RecipientKind

_Plans = Mapping[str, tuple[Plan, ...]]

# What became of a message without anybody's doing.
_OF_ITSELF = frozenset({"message_sent", "message_failed"})


@dataclass(frozen=True, slots=True)
class Book:
    """The active and paused campaigns of a workspace by what concerns an event."""

    triggers: _Plans
    """By the type of their trigger, but for those that match a property too."""
    matches: Mapping[str, Mapping[str, _Plans]]
    """Those by type, property and value."""
    exceptions: _Plans
    """By the types of their exceptions."""
    goals: _Plans = field(default_factory=dict)
    """By the types of their goals."""
    undos: _Plans = field(default_factory=dict)
    """By the types of what takes back what their digests gather."""

    def begun_by(self, event: Occurrence) -> tuple[Plan, ...]:
        """Return the campaigns that the event may begin."""
        plans = self.triggers.get(event.type, ())
        if event.type in _OF_ITSELF:
            # Each of its messages would begin the next, for ever.
            own = event.properties.get("campaign")
            plans = tuple(plan for plan in plans if plan.campaign != own)
        matches = self.matches.get(event.type)
        if not matches:
            return plans
        found: dict[str, Plan] = {}
        for name, by_value in matches.items():
            value = event.properties.get(name)
            if isinstance(value, str):
                found |= {plan.campaign: plan for plan in by_value.get(value, ())}
        return (*plans, *found.values())

    def stopped_by(self, event: Occurrence) -> tuple[Plan, ...]:
        """Return the campaigns whose passages the event may stop."""
        plans = self.exceptions.get(event.type, ())
        return tuple(one for one in plans if any(map(_hearing(event), exceptions_of(one))))

    def aimed_at(self, event: Occurrence) -> tuple[Plan, ...]:
        """Return the campaigns whose goals the event may reach."""
        return self.goals.get(event.type, ())

    def told_by(self, event: Occurrence) -> tuple[Plan, ...]:
        """Return the campaigns whose recipients the event may name."""
        return (*self.begun_by(event), *self.undone_by(event))

    def undone_by(self, event: Occurrence) -> tuple[Plan, ...]:
        """Return the campaigns of whose digests the event may take something out."""
        return self.undos.get(event.type, ())


def make_book(plans: Iterable[Plan]) -> Book:
    """Return the book of campaigns of one workspace."""
    triggers: dict[str, list[Plan]] = defaultdict(list)
    matches: dict[str, dict[str, dict[str, list[Plan]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    exceptions: dict[str, list[Plan]] = defaultdict(list)
    goals: dict[str, list[Plan]] = defaultdict(list)
    undos: dict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        if plan.recipient is RecipientKind.AUDIENCE:
            # No event of the log begins it, whatever its type.
            pass
        elif plan.match is None:
            triggers[plan.trigger_type].append(plan)
        else:
            for value in plan.match.values:
                matches[plan.trigger_type][plan.match.property][value].append(plan)
        for type_ in exception_types(plan):
            exceptions[type_].append(plan)
        for type_ in {goal.event_type for goal in plan.goals}:
            goals[type_].append(plan)
        if plan.digest is not None and plan.digest.undo is not None:
            undos[plan.digest.undo.event_type].append(plan)
    return Book(
        _frozen(triggers),
        {
            type_: {name: _frozen(by_value) for name, by_value in by_name.items()}
            for type_, by_name in matches.items()
        },
        _frozen(exceptions),
        goals=_frozen(goals),
        undos=_frozen(undos),
    )


def exception_types(plan: Plan) -> set[str]:
    """Return the types of the exceptions of all versions by which somebody may go."""
    return {rule.event_type for rule in exceptions_of(plan)}


def exceptions_of(plan: Plan) -> list[ExceptionRule]:
    """Return the exceptions of all versions by which somebody may go."""
    versions = (plan, *plan.past.plans.values())
    return [rule for version in versions for rule in version.exceptions]


def _hearing(event: Occurrence) -> Callable[[ExceptionRule], bool]:
    return lambda rule: rule.hears(event)


def _frozen(plans: Mapping[str, list[Plan]]) -> _Plans:
    return {key: tuple(some) for key, some in plans.items()}
