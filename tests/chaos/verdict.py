"""Compares what arrived with what was promised, and history with what was acknowledged. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.cast import DELAY, Promise


class Arrival(NamedTuple):
    """One accepted request at the sink."""

    workspace: str
    campaign: str
    recipient: str
    events: tuple[str, ...]
    """What it tells of: one event, or all that were gathered."""
    key: str
    """Its idempotency key: who receives drops a request whose key it has seen."""


class Pair(NamedTuple):
    """What a message is about. At most one message of each may arrive."""

    workspace: str
    campaign: str
    event_id: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Offence:
    """A broken promise."""

    promise: Promise
    what: str


@dataclass(slots=True)
class Verdict:
    """How it ended."""

    expected: int = 0
    lost: int = 0
    duplicate: int = 0
    repeats: int = 0
    """Requests that a receiver drops by their key."""
    open: int = 0
    """Messages that may have arrived or not: their exception was known too late to count on."""
    offences: list[Offence] = field(default_factory=list)
    strangers: list[Pair] = field(default_factory=list)
    """Messages that nobody was promised."""


def judge(
    promises: Iterable[Promise],
    arrivals: Sequence[Arrival],
    *,
    occurred: Mapping[str, float],
    acknowledged: Mapping[str, float],
) -> Verdict:
    """Compare; both mappings go from event id to seconds since 1970."""
    keys: dict[Pair, list[str]] = {}
    # Whoever receives a key again drops the message, whatever it says by then.
    first = {one.key: one for one in reversed(arrivals)}
    for one in first.values():
        for event in one.events:
            pair = Pair(one.workspace, one.campaign, event, one.recipient)
            keys.setdefault(pair, []).append(one.key)
    verdict = Verdict(repeats=len(arrivals) - len(first))
    promised: set[Pair] = set()
    for promise in promises:
        pairs = [
            Pair(promise.workspace, promise.campaign, event, promise.recipient)
            for event in promise.events
        ]
        promised.update(pairs)
        arrived = sum(len(keys.get(pair, ())) for pair in pairs)
        twice = sum(max(0, len(keys.get(pair, ())) - 1) for pair in pairs)
        most = promise.count + _late(promise, occurred, acknowledged)
        verdict.expected += promise.count
        verdict.open += most - promise.count
        lost = max(0, promise.count - (arrived - twice))
        surplus = max(twice, arrived - most)
        verdict.lost += lost
        verdict.duplicate += surplus
        if lost or surplus:
            what = f"expected {promise.count}, arrived {arrived}"
            verdict.offences.append(Offence(promise, what))
    verdict.strangers = sorted(keys.keys() - promised)
    verdict.duplicate += sum(len(keys[pair]) for pair in verdict.strangers)
    return verdict


def _late(
    promise: Promise, occurred: Mapping[str, float], acknowledged: Mapping[str, float]
) -> int:
    """Return 1 if the exception was not durable when the message was due."""
    if not promise.stopped_by:
        return 0
    due = occurred[promise.events[0]] + DELAY
    return 1 if acknowledged[promise.stopped_by] > due else 0


@dataclass(frozen=True, slots=True)
class History:
    """What the profiles remember of the acknowledged events."""

    events: int
    missing: list[str]
    twice: list[str]
    disordered: list[str]
    """Events that stand after one that their caller sent later."""


def compare_history(
    sent: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]
) -> History:
    """Compare event ids by profile, each in order."""
    missing: list[str] = []
    twice: list[str] = []
    disordered: list[str] = []
    for profile, ids in sent.items():
        known = found.get(profile, ())
        counts = Counter(known)
        missing += [one for one in ids if not counts[one]]
        twice += [one for one, count in counts.items() if count > 1]
        place = {one: number for number, one in enumerate(ids)}
        last = -1
        for one in known:
            number = place.get(one, last)
            if number < last:
                disordered.append(one)
            last = max(last, number)
    return History(sum(map(len, sent.values())), missing, twice, disordered)
