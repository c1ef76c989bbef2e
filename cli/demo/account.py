"""Counts what arrived at the sinks, and holds it against what should have."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cli.demo.expectation import BIG, CART, CONFIRMATION, FULL, Expected, Message, Stop
from stack.sinks.store import Mail, Webhook

_CART = re.compile(r"^Cart (\S+), worth (-?\d+\.\d\d) GBP", re.MULTILINE)
_FULL = re.compile(r"Your cart deserves a second look, .+")
_ORDER = re.compile(r"Your order (\S+)")
# Which campaign writes such a subject.
_SUBJECTS = {
    "review-comment": re.compile(r".+ commented on your review of .+"),
    "weekly-digest": re.compile(r".+ commented on your review|\d+ news of your connections"),
    "likes": re.compile(r".+ liked your photo"),
    "promotion": re.compile(r"20 % off until Epiphany, .+"),
    "win-back": re.compile(r"It has been a while, .+"),
    "welcome-back": re.compile(r"Welcome back, .+"),
}
# Digests, of which each line counts.
_WHOLE = re.compile(r".+ liked your photo|\d+ news of your connections")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How it came out."""

    messages: int
    """Different messages that arrived."""
    expected: int
    lost: tuple[Message, ...]
    """Should have arrived and did not."""
    duplicate: int
    """Arrivals beyond the first of the same message."""
    unexpected: tuple[Message, ...]
    """Arrived and should not have."""
    astray: tuple[Stop, ...] = ()
    """Stopped where it should not have been, or the other way about."""

    @property
    def good(self) -> bool:
        """Whether everything arrived once and nothing else did."""
        return (
            not self.lost
            and not self.duplicate
            and not self.unexpected
            and not self.astray
            and self.messages == self.expected
        )


def read_mail(mail: Mail) -> Message:
    """Return which message a mail is, by what it says."""
    to = mail.recipients[0]
    if match := _ORDER.fullmatch(mail.subject):
        return Message(CONFIRMATION, to, match[1])
    if match := _CART.search(mail.body):
        full = FULL if _FULL.fullmatch(mail.subject) else ""
        return Message(CART, to, f"{match[1]} {match[2]}{full}")
    for campaign, subject in _SUBJECTS.items():
        if subject.fullmatch(mail.subject):
            return Message(campaign, to, _words(mail))
    return Message("unknown", to, mail.subject)


def read_webhook(webhook: Webhook) -> Message:
    """Return which message a webhook is, by what it says."""
    try:
        body = json.loads(webhook.body)
        return Message(BIG, body["customer"], body["order_id"])
    except (ValueError, KeyError, TypeError):
        return Message("unknown", webhook.path, webhook.body)


def _words(mail: Mail) -> str:
    if not _WHOLE.fullmatch(mail.subject):
        return mail.subject
    lines = [line.removeprefix("* ").strip() for line in mail.body.splitlines()]
    return f"{mail.subject}: {', '.join(filter(None, lines))}"


def settle(
    arrived: Iterable[Message], expected: Expected, stops: Iterable[Stop] = frozenset()
) -> Account:
    """Hold what arrived, and what was stopped, against what should have.

    Of capped messages any may arrive, as many as the cap takes: too few are lost, too many are
    unexpected.
    """
    counts = Counter(arrived)
    distinct = set(counts)
    lost = set(expected.certain - distinct)
    unexpected = distinct - expected.certain
    for candidates in expected.capped.values():
        present = sorted(candidates & distinct)
        unexpected -= set(present[: expected.cap])
        lost |= set(sorted(candidates - distinct)[: max(expected.cap - len(present), 0)])
    return Account(
        messages=len(distinct),
        expected=expected.count,
        lost=tuple(sorted(lost)),
        duplicate=sum(counts.values()) - len(distinct),
        unexpected=tuple(sorted(unexpected)),
        astray=tuple(sorted(expected.stops.symmetric_difference(stops))),
    )
