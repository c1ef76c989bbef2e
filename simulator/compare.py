"""What was expected and what came of it: what is missing, what is too much, what is different."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from simulator.records import Goal, Kept, Message
from simulator.scenario import ExpectedGoal, ExpectedMessage, ExpectedRefusal

# Times are told to the second.
_NEAR = timedelta(seconds=1)

_E = TypeVar("_E")
_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class Differs:
    """A message came that is nearly what was expected."""

    expected: ExpectedMessage
    actual: Message
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is not as expected; nothing: it is."""

    missing: tuple[ExpectedMessage, ...] = ()
    unexpected: tuple[Message, ...] = ()
    differing: tuple[Differs, ...] = ()
    not_refused: tuple[ExpectedRefusal, ...] = ()
    not_reached: tuple[ExpectedGoal, ...] = ()
    reached: tuple[Goal, ...] = ()
    """Though nobody expected it."""

    @property
    def same(self) -> bool:
        """Whether all is as expected."""
        messages = self.missing or self.unexpected or self.differing or self.not_refused
        return not (messages or self.not_reached or self.reached)


def compare(
    expected: Sequence[ExpectedMessage],
    messages: Sequence[Message],
    refusals: Sequence[ExpectedRefusal],
    kept: Sequence[Kept],
) -> Comparison:
    """Compare: of messages exactly these are expected, of refusals at least these."""
    missing, unexpected = _matched(expected, messages, lambda one, it: not differences(one, it))
    differing: list[Differs] = []
    for one in list(missing):
        alike = [it for it in unexpected if (it.profile, it.campaign) == (one.to, one.campaign)]
        if alike:
            near = min(alike, key=lambda it: len(differences(one, it)))
            missing.remove(one)
            unexpected.remove(near)
            differing.append(Differs(one, near, differences(one, near)))
    not_refused, _ = _matched(refusals, kept, _is_refusal)
    return Comparison(tuple(missing), tuple(unexpected), tuple(differing), tuple(not_refused))


def compare_goals(
    expected: Sequence[ExpectedGoal], goals: Sequence[Goal]
) -> tuple[tuple[ExpectedGoal, ...], tuple[Goal, ...]]:
    """Return what was not reached, and what was though nobody expected it.

    Of campaigns whose goals are expected, exactly these are; of others nothing is asked.
    """
    campaigns = {one.campaign for one in expected}
    asked = [one for one in goals if one.campaign in campaigns]
    missed, more = _matched(expected, asked, _is_goal)
    return tuple(missed), tuple(more)


def differences(expected: ExpectedMessage, actual: Message) -> tuple[str, ...]:
    """Return the fields in which a message is not what was expected."""
    asked: dict[str, tuple[Any, Any]] = {
        "to": (expected.to, actual.profile),
        "campaign": (expected.campaign, actual.campaign),
        "channel": (expected.channel, actual.channel),
        "template": (expected.template, actual.template),
        "variant": (expected.variant, actual.variant or "default"),
        "event": (expected.event, actual.event),
    }
    found = [name for name, (want, is_) in asked.items() if want is not None and want != is_]
    if not _in_time(expected, actual):
        found.insert(0, "at")
    if expected.digest is not None and not _holds(expected.digest, actual.digest):
        found.append("digest")
    return tuple(found)


def _in_time(expected: ExpectedMessage, actual: Message) -> bool:
    if expected.at is None:
        return expected.before is None or actual.time < expected.before + _NEAR
    if expected.before is not None:
        return expected.at <= actual.time < expected.before + _NEAR
    return abs(actual.time - expected.at) < _NEAR


def _holds(wanted: Any, actual: Any) -> bool:
    """Say whether all that is wanted is there; lists are compared item by item."""
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(
            key in actual and _holds(value, actual[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(actual, list)
            and len(wanted) == len(actual)
            and all(_holds(one, other) for one, other in zip(wanted, actual, strict=True))
        )
    return bool(wanted == actual)


def _is_refusal(expected: ExpectedRefusal, actual: Kept) -> bool:
    gate = actual.gate
    return (
        expected.campaign == actual.campaign
        and expected.gate == gate.name
        and expected.to in {None, actual.profile}
        and expected.event in {None, actual.event}
        and (expected.detail is None or expected.detail in gate.detail)
        and (expected.at is None or abs(actual.time - expected.at) < _NEAR)
    )


def _is_goal(expected: ExpectedGoal, actual: Goal) -> bool:
    return (
        (expected.campaign, expected.goal) == (actual.campaign, actual.goal)
        and expected.to in {None, actual.profile}
        and expected.variant in {None, actual.variant or "default"}
        and expected.event in {None, actual.event}
        and expected.value in {None, actual.value}
        and (expected.at is None or abs(actual.time - expected.at) < _NEAR)
    )


def _matched(
    expected: Sequence[_E], actual: Sequence[_A], fits: Callable[[_E, _A], bool]
) -> tuple[list[_E], list[_A]]:
    """Pair as many as there can be; return those on either side that are left over."""
    partner: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        for number, one in enumerate(actual):
            if number in tried or not fits(expected[index], one):
                continue
            tried.add(number)
            if number not in partner or place(partner[number], tried):
                partner[number] = index
                return True
        return False

    left = [one for index, one in enumerate(expected) if not place(index, set())]
    return left, [one for number, one in enumerate(actual) if number not in partner]
