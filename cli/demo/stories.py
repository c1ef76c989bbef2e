"""Tells what came of the scenes: who got what, and why somebody did not."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from beckon.trigger.v1.decision_service_pb2 import Decision

from cli.demo import account, foresight
from cli.demo.expectation import CART, FULL, Stop
from cli.demo.scenes import Scene
from cli.output import last
from stack.sinks.store import Mail

_OVER = (Decision.STATE_REFUSED, Decision.STATE_EXITED)
_NAMES_SHOWN = 3


def is_held(decision: Decision) -> bool:
    """Say whether a message waits for an hour at which it may go out."""
    return (
        decision.state == Decision.STATE_WAITING
        and bool(decision.gates)
        and not decision.gates[-1].passed
        and decision.gates[-1].name == foresight.HELD
    )


def stops(decisions: Iterable[Decision]) -> frozenset[Stop]:
    """Return what the campaigns of the scenes did not send, with the gate that refused."""
    return frozenset(
        Stop(last(one.campaign), last(one.profile), gate)
        for one in decisions
        if last(one.campaign) in foresight.CAMPAIGNS and (gate := _refusal(one)[0])
    )


def tell(
    scenes: Sequence[Scene],
    mails: Iterable[Mail],
    decisions: Iterable[Decision],
    begun: datetime,
) -> Iterator[str]:
    """Yield the lines of every story."""
    by_address: dict[str, list[Mail]] = defaultdict(list)
    for mail in mails:
        by_address[mail.recipients[0]].append(mail)
    by_profile: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_profile[last(decision.profile)].append(decision)
    for scene in scenes:
        yield ""
        yield scene.story
        for person in scene.people:
            told = [
                *_got(scene, by_address[person.email], begun),
                *_missed(scene, by_profile[person.profile]),
            ]
            who = person.profile
            if note := scene.notes.get(who):
                who = f"{who}, {note}"
            for line in told:
                yield f"    {who:<26}{line}"
                who = ""


def tell_carts(mails: Iterable[Mail]) -> str:
    """Return in a line what came of the carts."""
    read = (account.read_mail(mail) for mail in mails)
    carts = [one.says for one in read if one.campaign == CART]
    full = sum(says.endswith(FULL) for says in carts)
    return (
        f"S2 Abandoned carts: {len(carts)} reminded, {full} of them in the words for a fuller cart;"
        " the table says what stopped the others"
    )


def _got(scene: Scene, mails: Iterable[Mail], begun: datetime) -> Iterator[str]:
    for mail in mails:
        message = account.read_mail(mail)
        if message.campaign not in scene.campaigns:
            continue
        after = (mail.arrive_time - begun).total_seconds()
        subject, _, rest = message.says.partition(": ")
        names = rest.split(", ")
        more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        says = f": {', '.join(names[:_NAMES_SHOWN])}{more}" if rest else ""
        yield f"{after:4.1f} s  “{subject}”{says}"


def _missed(scene: Scene, decisions: Iterable[Decision]) -> Iterator[str]:
    for decision in decisions:
        gate, detail = _refusal(decision)
        if gate and last(decision.campaign) in scene.campaigns:
            how = "held" if is_held(decision) else "no"
            yield f"{how:>6}  {last(decision.campaign)}: {gate} ({detail})"


def _refusal(decision: Decision) -> tuple[str, str]:
    """Return gate and detail of what refused or holds a message; '' if nothing does."""
    refused = [gate for gate in decision.gates if not gate.passed]
    if refused and (decision.state in _OVER or is_held(decision)):
        return refused[-1].name, refused[-1].detail
    return "", ""
