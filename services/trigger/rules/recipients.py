"""Who gets the message that an event begins?"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.trigger.model import Occurrence, Person, Plan, RecipientKind

_ID_MAX = 128
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~@+:=-")
_NAMED_MAX = 100


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who may get the message; with no profile: that there is nobody, and why."""

    profile: str
    """Under which id the person goes."""
    named: str
    """The id that was used for her."""
    seen: str

    @property
    def member(self) -> str:
        """The id that was used when the person goes by another."""
        return "" if self.named == self.profile else self.named


def actor_of(event: Occurrence) -> Recipient:
    """Return who did it."""
    return Recipient(event.profile, event.member or event.profile, "the event's own profile")


@dataclass(frozen=True, slots=True)
class Named:
    """The profile ids that an event names as recipients, and what was seen."""

    ids: tuple[str, ...]
    seen: str


def named_by(plan: Plan, event: Occurrence) -> Named:
    """Return whom the event names, each id once; its own profile only where that is asked for.

    Of a relation it names nobody: those are gone through one page after the other.
    """
    match plan.recipient:
        case RecipientKind.PROPERTY:
            return _property(plan, event)
        case RecipientKind.TEAM:
            others = _others(plan, event, plan.team)
            return Named(others, "of the team" if others else "nobody else is in the team")
        case RecipientKind.ACTOR:
            return Named((event.member or event.profile,), "the event's own profile")
        case _:
            return Named((), "nobody is named")


def recipients_of(
    plan: Plan, event: Occurrence, people: Mapping[str, Person]
) -> tuple[Recipient, ...]:
    """Return the recipients that an event names, each person once; never none.

    Args:
        plan: the campaign.
        event: of its trigger type.
        people: at least the recipients, by the id named.
    """
    if plan.recipient is RecipientKind.ACTOR:
        return (actor_of(event),)
    found = named_by(plan, event)
    if not found.ids:
        return (Recipient("", "", found.seen),)
    source = plan.recipient_property or "the team"
    several: dict[str, Recipient] = {}
    own_by_another = False
    for one in found.ids:
        person = people.get(one)
        profile = person.profile if person is not None else one
        if profile == event.profile and not plan.include_actor:
            own_by_another = True
            continue
        seen = f"{source} names {one}"
        if profile != one:
            seen = f"{seen}, who goes by {profile}"
        several.setdefault(profile, Recipient(profile, one, seen))
    if own_by_another and not several:
        return (Recipient("", "", f"{source} names another id of the event's own profile"),)
    return tuple(several.values())


def _property(plan: Plan, event: Occurrence) -> Named:
    name = plan.recipient_property
    value = event.properties.get(name)
    if value is None:
        return Named((), f"{name} is absent")
    values = value if isinstance(value, list) else [value]
    if len(values) > _NAMED_MAX:
        return Named((), f"{name} holds {len(values)} values, at most {_NAMED_MAX}")
    ids = [text for one in values if (text := _id(one))]
    if not ids:
        return Named((), f"{name} holds no profile id")
    others = _others(plan, event, ids)
    if not others:
        return Named((), f"{name} names the event's own profile")
    return Named(others, f"{name} names {', '.join(others)}")


def _id(value: object) -> str:
    # Numbers are ids in many systems; true and false are in none.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 1 <= len(text) <= _ID_MAX or set(text) - _ID_CHARACTERS:
        return ""
    return text


def _others(plan: Plan, event: Occurrence, ids: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    own = () if plan.include_actor else (event.profile, event.member)
    return tuple(dict.fromkeys(one for one in ids if one not in own))
